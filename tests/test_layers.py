"""What the import linter cannot see, because the compiled module has no source in Python."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_ops_imports_the_compiled_module() -> None:
    importers = {
        path.relative_to(ROOT).parts[:2]
        for folder in ("recsys_core", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        if {"recsys_core._core", "recsys_core._cuda"} & imported_names(path)
    }
    assert importers == {("recsys_core", "ops")}


def private_imports(source: str) -> list[str]:
    """Names of recsys_core that a module imports and that are in no package's ``__all__``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.partition(".")[0] == "recsys_core" != name.name]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "recsys_core":
            module = importlib.import_module(str(node.module))
            # A module inside a package is the package's own business; the errors and types are packages of one module.
            is_public = hasattr(module, "__path__") or module.__name__ in ("recsys_core.errors", "recsys_core.types")
            public = module.__all__ if is_public else ()
            found += [f"{node.module}.{name.name}" for name in node.names if name.name not in public]
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_plugins_import_public_names_only(path: Path) -> None:
    assert private_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "private"),
    [
        ("from recsys_core import Interactions, ops", []),
        ("from recsys_core.data import IdMap\nfrom recsys_core.types import CSR\nimport recsys_core", []),
        ("from recsys_core.data import frames", ["recsys_core.data.frames"]),
        ("from recsys_core.data.frames import read_table", ["recsys_core.data.frames.read_table"]),
        ("from recsys_core.data.id_map import IdMap", ["recsys_core.data.id_map.IdMap"]),
        ("from recsys_core.models import *", ["recsys_core.models.*"]),
        ("import recsys_core.data.frames as f", ["recsys_core.data.frames"]),
    ],
)
def test_private_imports_are_seen(source: str, private: list[str]) -> None:
    assert private_imports(source) == private
