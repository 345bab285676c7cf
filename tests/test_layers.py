"""What the import linter cannot see, because the compiled module has no source in Python."""

from __future__ import annotations

import ast
from pathlib import Path

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
        if "recsys_core._core" in imported_names(path)
    }
    assert importers == {("recsys_core", "ops")}


def test_plugins_import_public_names_only() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        for name in imported_names(path):
            if name.startswith("recsys_core"):
                assert not any(part.startswith("_") for part in name.split(".")), f"{path.name}: {name}"
