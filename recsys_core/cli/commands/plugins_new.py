"""``recsys plugins new``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import string
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")

_COMMON: Final = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "init.py.tmpl": "src/{package}/__init__.py",
    "py.typed.tmpl": "src/{package}/py.typed",
}


class Kind(StrEnum):
    """What a package can be started with."""

    recommender = "recommender"
    encoder = "encoder"


@dataclass(frozen=True)
class _Template:
    """What is special to a kind: its files, what the package needs, and what to try next."""

    files: dict[str, str]
    description: str
    requirements: tuple[str, ...]
    try_it: str


_TEMPLATES: Final = {
    Kind.recommender: _Template(
        {
            "recommender/README.md.tmpl": "README.md",
            "recommender/plugin.py.tmpl": "src/{package}/plugin.py",
            "recommender/model.py.tmpl": "src/{package}/model.py",
            "recommender/test_conformance.py.tmpl": "tests/test_conformance.py",
        },
        "A recommender for recsys-core.",
        ("recsys-core>={version}", "numpy>=2.0", "scipy>=1.13"),
        "recsys evaluate {thing} --dataset ml-100k",
    ),
    Kind.encoder: _Template(
        {
            "encoder/README.md.tmpl": "README.md",
            "encoder/plugin.py.tmpl": "src/{package}/plugin.py",
            "encoder/encoder.py.tmpl": "src/{package}/encoder.py",
            "encoder/test_conformance.py.tmpl": "tests/test_conformance.py",
        },
        "An encoder of users and items for recsys-core.",
        ("recsys-core[torch]>={version}",),
        "recsys evaluate two_tower --dataset ml-100k --set 'model.item_encoder=\"{thing}\"'",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "new")(plugins_new)


def plugins_new(
    out: Output,
    name: Annotated[str, typer.Argument(help="Name of the distribution, such as recsys-trending.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", metavar="DIR", help="Where to write it; ./NAME if left out.")
    ] = None,
    kind: Annotated[Kind, typer.Option("--kind", help="What to start with.")] = Kind.recommender,
) -> None:
    """Write a complete plugin package with a working model, or encoder, and its conformance test.

    It is registered under NAME without a leading recsys-, with _ for -.
    """
    from recsys_core._version import __version__
    from recsys_core.errors import ConfigError
    from recsys_core.registry import default_registry

    names = _names(name)
    taken = default_registry().entries(kind.value, names["thing"])
    if taken:
        raise ConfigError(
            f"NAME: expected one that is not registered yet, got {name!r}: there is a {kind.value} "
            f"{taken[0].qualified_name}; try my-{names['thing'].replace('_', '-')}."
        )
    target = Path(name) if directory is None else directory
    if target.exists():
        raise ConfigError(f"--directory: {target} exists already; choose another one.")
    chosen = _TEMPLATES[kind]
    # The interface is stable within a minor version.
    version = ".".join(__version__.split(".")[:2])
    names["description"] = chosen.description
    names["dependencies"] = ", ".join(f'"{each.format(version=version)}"' for each in chosen.requirements)
    template = files("recsys_core.cli") / "template"
    written = []
    for source, place in {**_COMMON, **chosen.files}.items():
        path = target / place.format(**names)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = template.joinpath(*source.split("/")).read_text(encoding="utf-8")
        path.write_text(string.Template(text).substitute(names), encoding="utf-8")
        written.append(str(path.relative_to(target)))
    thing = names["thing"]
    out.data({"name": name, "kind": kind.value, "registered": thing, "directory": str(target), "files": written})
    out.fields({kind.value: thing, "files": ", ".join(written)}, title=f"Wrote {target}")
    out.text("\nNext:")
    out.text(f"  pip install --editable {target}")
    out.text(f"  recsys plugins check {thing}")
    out.text(f"  {chosen.try_it.format(thing=thing)}")


def _names(name: str) -> dict[str, str]:
    """Every name that the template needs.

    Raises
    ------
    ConfigError
        The name cannot be that of a distribution, of a module and of what it offers at once.
    """
    from recsys_core.errors import ConfigError

    if not _NAME.match(name):
        raise ConfigError(
            f"NAME: expected lower-case words of letters and digits joined by '-', a letter first, such as "
            f"recsys-trending, got {name!r}."
        )
    package = name.replace("-", "_")
    thing = package.removeprefix("recsys_")
    if keyword.iskeyword(package) or _is_module(package):
        raise ConfigError(f"NAME: expected one that is free as a Python module, got {name!r}; try my-{name}.")
    if not thing[0].isalpha():
        raise ConfigError(f"NAME: expected a letter after recsys-, got {name!r}.")
    class_name = "".join(word.capitalize() for word in thing.split("_"))
    return {"name": name, "package": package, "thing": thing, "class_name": class_name}


def _is_module(package: str) -> bool:
    """Whether a module of that name can be imported; a mere folder, of which there may be one here, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
