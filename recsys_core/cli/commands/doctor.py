"""``recsys doctor``."""

from __future__ import annotations

from typing import Any, Final

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]

_PACKAGES: Final = ("numpy", "scipy", "polars", "onnx", "onnxruntime", "pydantic", "typer", "torch")
_CUDA: Final = "off: not built into this version"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "doctor")(doctor)


def doctor(out: Output) -> None:
    """Say what this installation runs on, and what is wrong with it.

    Versions, instruction set and threads of the compiled core, plugins, and whether CUDA is used. Exits with 4 if a
    plugin failed to load, with 6 if the instruction set that RECSYS_ISA asks for cannot be used.
    """
    import os
    import platform

    import onnxruntime

    from recsys_core import ops
    from recsys_core.cli.failures import exit_code
    from recsys_core.errors import DeviceError, PluginError
    from recsys_core.registry import default_registry

    problems: list[Exception] = []
    isa: str | None = None
    try:
        isa = ops.isa()
    except DeviceError as fault:
        problems.append(fault)
    plugins = [
        {
            "plugin": record.name,
            "distribution": f"{record.distribution} {record.version}".strip(),
            "status": record.status,
            "offers": len(record.specs),
        }
        for record in default_registry().plugins
    ]
    problems += [
        PluginError(f"plugin {record.name}: {record.error}")
        for record in default_registry().plugins
        if record.status == "failed"
    ]
    versions = {"recsys-core": _version("recsys-core"), "python": platform.python_version()}
    versions |= {name: _version(name) for name in _PACKAGES}
    core = {
        "isa": isa,
        "available_isas": ops.available_isas(),
        "requested_isa": os.environ.get("RECSYS_ISA"),
        "threads": ops.max_threads(),
        "cuda": _CUDA,
    }
    providers = onnxruntime.get_available_providers()
    out.data(
        {
            "versions": versions,
            "platform": platform.platform(),
            "core": core,
            "onnxruntime_providers": providers,
            "plugins": plugins,
            "problems": [str(problem) for problem in problems],
        }
    )
    out.fields({name: version or "not installed" for name, version in versions.items()}, title="Versions")
    out.fields(_described(core, platform.platform(), providers), title="Compiled core and runtime")
    if plugins:
        out.table(plugins, title="Plugins")
    for problem in problems:
        out.text(f"problem: {problem}")
    if problems:
        raise typer.Exit(max(map(exit_code, problems)))
    out.text("No problems found.")


def _described(core: dict[str, Any], system: str, providers: list[str]) -> dict[str, Any]:
    requested = core["requested_isa"]
    how = "chosen: the widest" if requested is None else f"asked for by RECSYS_ISA={requested}"
    return {
        "platform": system,
        "instruction set": f"{core['isa'] or 'none'} ({how}; this machine can use {', '.join(core['available_isas'])})",
        "threads": core["threads"],
        "CUDA": core["cuda"],
        "onnxruntime": ", ".join(providers),
    }


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
