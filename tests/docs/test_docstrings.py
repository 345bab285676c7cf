"""What docstrings say of parameters is what signatures say; commands, flags and settings explain themselves."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import recsys_core
from recsys_core.cli import app, run_config
from recsys_core.models import Config
from recsys_core.registry import default_registry, resolve

HEADING = re.compile(r"^(\w[\w ]*)\n-+$", re.MULTILINE)
FIRST_PARTY = ("recsys_core", "recsys_classic", "recsys_datasets", "recsys_neural")


def sections(docstring: str) -> dict[str, str]:
    """The numpydoc sections of a docstring, by title."""
    parts = HEADING.split(docstring)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named_in(docstring: str, section: str) -> list[str]:
    """The names that a section lists, in order; ``a, b`` and ``name : type`` are understood."""
    lines = sections(inspect.cleandoc(docstring)).get(section, "").splitlines()
    entries = [line.partition(" :")[0] for line in lines if line and not line[0].isspace()]
    return [name.strip() for entry in entries for name in entry.split(",")]


def parameters(value: Callable[..., Any]) -> list[str]:
    """The names of the signature as a docstring writes them, without self."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        stars.get(parameter.kind, "") + name
        for name, parameter in inspect.signature(value).parameters.items()
        if name not in ("self", "cls")
    ]


def inherited(value: Any) -> set[str]:
    """Fields of the bases of a dataclass, which explain them."""
    bases = value.__mro__[1:] if dataclasses.is_dataclass(value) and isinstance(value, type) else ()
    return {field.name for base in bases if dataclasses.is_dataclass(base) for field in dataclasses.fields(base)}


def public_packages() -> list[str]:
    found = pkgutil.walk_packages(recsys_core.__path__, "recsys_core.")
    names = [
        "recsys_core",
        "recsys_core.errors",
        "recsys_core.types",
        *(module.name for module in found if module.ispkg),
    ]
    return [name for name in names if not name.startswith("recsys_core.cli")]


def public_callables() -> dict[str, Any]:
    """Everything public that is called: functions and classes of ``__all__`` and of the plugins, and methods."""
    named = [getattr(importlib.import_module(name), item) for name in public_packages()
             for item in importlib.import_module(name).__all__]  # fmt: skip
    specs = [spec for record in default_registry().plugins for spec in record.specs]
    named += [resolve(spec.factory) for spec in specs]
    found: dict[str, Any] = {}
    for value in named:
        if not getattr(value, "__module__", "").startswith(FIRST_PARTY):
            continue
        if inspect.isclass(value):
            found |= {f"{value.__module__}.{value.__qualname__}": value}
            found |= {f"{value.__module__}.{value.__qualname__}.{name}": method for name, method in methods(value)}
        elif inspect.isfunction(value):
            found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


CALLABLES = public_callables()


def test_the_check_sees_the_public_interface() -> None:
    for name in ("recsys_core.data.interactions.Interactions.from_frame", "recsys_core.metrics.evaluator.evaluate",
                 "recsys_classic.als.Als", "recsys_datasets.movielens.load_ml_100k"):  # fmt: skip
        assert name in CALLABLES, name
    section = "    Parameters\n    ----------\n    a, b\n        Two.\n    **c\n        More.\n"
    assert named_in(f"Summary.\n\n{section}\n    Returns\n    -------\n    d\n", "Parameters") == ["a", "b", "**c"]


@pytest.mark.parametrize("name", CALLABLES)
def test_documented_parameters_are_those_of_the_signature(name: str) -> None:
    value = CALLABLES[name]
    docstring = value.__doc__ or ""
    listed = named_in(docstring, "Parameters")
    if listed:
        from_bases = inherited(value) - set(listed)
        assert listed == [parameter for parameter in parameters(value) if parameter not in from_bases]
    attributes = named_in(docstring, "Attributes")
    if attributes and dataclasses.is_dataclass(value):
        assert {*attributes, *listed} >= {field.name for field in dataclasses.fields(value) if field.init} - inherited(
            value
        )


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name or "recsys" for name, _ in COMMANDS])
def test_every_command_and_every_option_is_explained(name: str, command: Any) -> None:
    assert command.help, name
    assert [parameter.name for parameter in command.params if not parameter.help] == []


def config_classes() -> list[type[Config]]:
    sections = [value for value in vars(run_config).values() if inspect.isclass(value) and issubclass(value, Config)]
    entries = [entry for kind in ("recommender", "encoder", "metric", "reranker", "dataset")
               for entry in default_registry().entries(kind)]  # fmt: skip
    registered = [entry.config_class() for entry in entries]
    return [*sections, *(config for config in registered if config is not None)]


@pytest.mark.parametrize("config", config_classes(), ids=lambda config: config.__name__)
def test_every_setting_is_described(config: type[Config]) -> None:
    assert [name for name, field in config.model_fields.items() if not (field.description or "").strip()] == []


def documented_constants(path: Path) -> set[str]:
    """Names that a module assigns to and explains in a string below."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    found = set()
    for statement, below in itertools.pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        explained = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
        if explained:
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("package", public_packages())
def test_every_public_constant_is_explained(package: str) -> None:
    module = importlib.import_module(package)
    constants = {
        name
        for name in module.__all__
        if not name.startswith("__")
        and not isinstance(getattr(module, name), ModuleType)
        and not inspect.isclass(getattr(module, name))
        and not inspect.isroutine(getattr(module, name))
    }
    assert module.__file__ is not None
    file = Path(module.__file__)
    # A package gathers what its modules define.
    files = file.parent.glob("**/*.py") if file.name == "__init__.py" else [file]
    assert constants <= set().union(*map(documented_constants, files))
