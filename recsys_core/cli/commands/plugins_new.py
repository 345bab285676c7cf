"""``recsys plugins new``."""

from __future__ import annotations

import keyword
import re
import string
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")

_FILES: Final = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "README.md.tmpl": "README.md",
    "init.py.tmpl": "src/{package}/__init__.py",
    "py.typed.tmpl": "src/{package}/py.typed",
    "plugin.py.tmpl": "src/{package}/plugin.py",
    "model.py.tmpl": "src/{package}/model.py",
    "test_conformance.py.tmpl": "tests/test_conformance.py",
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
) -> None:
    """Write a complete plugin package with a working model and its conformance test.

    The model is registered under NAME without a leading recsys-, with _ for -.
    """
    from recsys_core._version import __version__
    from recsys_core.errors import ConfigError

    names = _names(name)
    target = Path(name) if directory is None else directory
    if target.exists():
        raise ConfigError(f"--directory: {target} exists already; choose another one.")
    # The interface is stable within a minor version.
    names["recsys_core"] = ".".join(__version__.split(".")[:2])
    template = files("recsys_core.cli") / "template"
    written = []
    for source, place in _FILES.items():
        path = target / place.format(**names)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (template / source).read_text(encoding="utf-8")
        path.write_text(string.Template(text).substitute(names), encoding="utf-8")
        written.append(str(path.relative_to(target)))
    out.data({"name": name, "model": names["model"], "directory": str(target), "files": written})
    out.fields({"model": names["model"], "files": ", ".join(written)}, title=f"Wrote {target}")
    out.text("\nNext:")
    out.text(f"  pip install --editable {target}")
    out.text(f"  recsys plugins check {names['model']}")
    out.text(f"  recsys evaluate {names['model']} --dataset ml-100k")


def _names(name: str) -> dict[str, str]:
    """Every name that the template needs.

    Raises
    ------
    ConfigError
        The name cannot be that of a distribution, a module and a model at once.
    """
    from recsys_core.errors import ConfigError

    if not _NAME.match(name):
        raise ConfigError(
            f"NAME: expected lower-case words of letters and digits joined by '-', a letter first, such as "
            f"recsys-trending, got {name!r}."
        )
    package = name.replace("-", "_")
    model = package.removeprefix("recsys_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package == "recsys_core":
        raise ConfigError(f"NAME: expected one that is free as a Python module, got {name!r}; try recsys-{name}.")
    if not model[0].isalpha():
        raise ConfigError(f"NAME: expected a letter after recsys-, got {name!r}.")
    class_name = "".join(word.capitalize() for word in model.split("_"))
    return {"name": name, "package": package, "model": model, "class_name": class_name}
