"""``recsys plugins check``."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    from recsys_core.registry import Entry, PluginRecord

__all__ = ["register"]

_BROKEN = 4


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "check")(plugins_check)


def plugins_check(
    out: Output,
    target: Annotated[
        str, typer.Argument(metavar="NAME | DIRECTORY", help="A plugin, a distribution, a model, or a plugin's source.")
    ],
) -> None:
    """Load a plugin and run the conformance kit on each of its recommenders.

    A directory is one with a pyproject.toml that declares the plugin; it need not be installed. Exits with 4 if
    anything fails.
    """
    from recsys_core.testing import check_recommender

    entries = _entries(target)
    reports = {}
    for entry in entries:
        with out.progress(f"check {entry.spec.name}"):
            reports[entry.spec.name] = check_recommender(entry)
        out.text(str(reports[entry.spec.name]))
    n_failed = sum(len(report.failed) for report in reports.values())
    out.data(
        {
            "target": target,
            "ok": n_failed == 0,
            "recommenders": [
                {
                    "name": name,
                    "n_checks": report.n_checks,
                    "n_failed": len(report.failed),
                    "results": [asdict(result) for result in report.results],
                }
                for name, report in reports.items()
            ],
        }
    )
    if n_failed:
        raise typer.Exit(_BROKEN)


def _entries(target: str) -> list[Entry]:
    """The recommenders that ``target`` speaks of.

    Raises
    ------
    PluginError
        A plugin failed to load, or registers no recommender.
    UnknownModelError
        There is no such plugin.
    """
    from recsys_core.errors import PluginError
    from recsys_core.registry import Registry, default_registry

    if (Path(target) / "pyproject.toml").is_file():
        project, points = _declared(Path(target))
        registry = Registry(points)
        records = registry.plugins
        # A plugin that is not installed has no distribution that could be asked for these.
        known = {"distribution": project.get("name", target), "version": project.get("version", "")}
    else:
        registry = default_registry()
        records = [record for record in registry.plugins if target in (record.name, record.distribution)]
        if not records:
            return [registry.find(target)]
        known = {}
    for record in records:
        _refuse_unloaded(record)
    modules = {record.module for record in records}
    entries = [replace(entry, **known) for entry in registry.entries() if entry.module in modules]
    if not entries:
        raise PluginError(f"{target}: expected at least one recommender, got none; there is nothing to check.")
    return entries


def _refuse_unloaded(record: PluginRecord) -> None:
    from recsys_core.errors import PluginError

    if record.status == "disabled":
        raise PluginError(f"plugin {record.name}: disabled by RECSYS_PLUGINS; take it out of there.")
    if record.status == "failed":
        raise PluginError(f"plugin {record.name}: {record.error}")
    if record.refused:
        raise PluginError(f"plugin {record.name}: refused {'; '.join(record.refused)}")


def _declared(directory: Path) -> tuple[dict[str, Any], list[EntryPoint]]:
    """The project table of a source tree, and the plugins it declares, importable from now on."""
    from recsys_core.errors import FormatError, PluginError
    from recsys_core.registry import ENTRY_POINT_GROUP

    path = directory / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except ValueError as fault:
        raise FormatError(f"{path}: expected TOML; {fault}.") from None
    declared = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
    if not declared:
        raise PluginError(f'{path}: expected a table [project.entry-points."{ENTRY_POINT_GROUP}"], found none.')
    source = directory / "src" if (directory / "src").is_dir() else directory
    sys.path.insert(0, str(source.resolve()))
    return project, [EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in declared.items()]
