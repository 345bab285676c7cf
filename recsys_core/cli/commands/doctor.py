"""``recsys doctor``."""

from __future__ import annotations

from typing import Any, Final

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]

_NEEDED: Final = ("numpy", "scipy", "narwhals", "polars", "onnx", "onnxruntime", "pydantic", "safetensors", "typer")
_OPTIONAL: Final = ("torch",)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "doctor")(doctor)


def doctor(out: Output) -> None:
    """Say what this installation runs on, and what is wrong with it.

    Versions, instruction set and threads of the compiled core, plugins, and whether CUDA is used. Exits with 4 if a
    plugin failed to load, with 6 if the instruction set that RECSYS_ISA asks for cannot be used, with 1 if a package
    that is needed cannot be imported.
    """
    import platform

    from recsys_core.cli.failures import exit_code

    problems: list[Exception] = []
    versions = {"recsys-core": _version("recsys-core"), "python": platform.python_version()}
    versions |= {name: _version(name) for name in (*_NEEDED, *_OPTIONAL)}
    modules = {name: _imported(name, problems) for name in _NEEDED}
    core = _core(problems)
    plugins = _plugins(problems)
    onnxruntime = modules["onnxruntime"]
    providers = [] if onnxruntime is None else onnxruntime.get_available_providers()
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


def _imported(module: str, problems: list[Exception]) -> Any:
    """The module, or None and one problem more."""
    import importlib

    try:
        return importlib.import_module(module)
    except Exception as fault:  # whatever a broken extension module raises
        cause = f"{type(fault).__name__}: {fault}"
        problems.append(ImportError(f"{module}: cannot be imported ({cause}); install it again."))
        return None


def _core(problems: list[Exception]) -> dict[str, Any]:
    import dataclasses
    import os

    from recsys_core.errors import DeviceError

    ops = _imported("recsys_core.ops", problems)
    isa = None
    try:
        isa = None if ops is None else ops.isa()
    except DeviceError as fault:
        problems.append(fault)
    return {
        "isa": isa,
        "available_isas": [] if ops is None else ops.available_isas(),
        "requested_isa": os.environ.get("RECSYS_ISA"),
        "threads": None if ops is None else ops.max_threads(),
        "cuda": None if ops is None else dataclasses.asdict(ops.cuda_state()),
    }


def _plugins(problems: list[Exception]) -> list[dict[str, Any]]:
    from recsys_core.errors import PluginError

    registry = _imported("recsys_core.registry", problems)
    records = [] if registry is None else registry.default_registry().plugins
    failed = [record for record in records if record.status == "failed"]
    problems += [PluginError(f"plugin {record.name}: {record.error}") for record in failed]
    return [
        {
            "plugin": record.name,
            "distribution": f"{record.distribution} {record.version}".strip(),
            "status": record.status,
            "offers": len(record.specs),
        }
        for record in records
    ]


def _described(core: dict[str, Any], system: str, providers: list[str]) -> dict[str, Any]:
    requested = core["requested_isa"]
    how = "chosen: the widest" if requested is None else f"asked for by RECSYS_ISA={requested}"
    available = ", ".join(core["available_isas"]) or "none"
    return {
        "platform": system,
        "instruction set": f"{core['isa'] or 'none'} ({how}; this machine can use {available})",
        "threads": core["threads"],
        "CUDA": _cuda_described(core["cuda"]),
        "onnxruntime": ", ".join(providers) or None,
    }


def _cuda_described(cuda: dict[str, Any] | None) -> str | None:
    if cuda is None:
        return None
    versions = f"built with {cuda['runtime']}, driver for {cuda['driver'] or 'none'}" if cuda["runtime"] else ""
    if cuda["problem"] is not None:
        return f"off: {cuda['problem']}" + (f" ({versions})" if versions else "")
    devices = ", ".join(
        f"cuda:{device['index']} {device['name']}" + (f" (unusable: {device['problem']})" if device["problem"] else "")
        for device in cuda["devices"]
    )
    return f"{devices} ({versions})"


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
