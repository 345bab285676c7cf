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
    from recsys_core.registry import Entry, PluginRecord, Registry
    from recsys_core.testing import ConformanceReport

__all__ = ["register"]

_BROKEN = 4
_KINDS = ("recommender", "encoder", "metric", "reranker", "dataset")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "check")(plugins_check)


def plugins_check(
    out: Output,
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME | DIRECTORY", help="A plugin, a distribution, something it offers, or its source."
        ),
    ],
) -> None:
    """Load a plugin and check what everything in it promises: recommenders, encoders, metrics, re-rankers, data sets.

    A directory is one with a pyproject.toml that declares the plugin; it need not be installed. Data sets are loaded,
    from the network if need be. Exits with 4 if anything fails.
    """
    reports = []
    for entry in _entries(target):
        with out.progress(f"check {entry.spec.name}"):
            reports.append((entry.spec.name, _checked(entry)))
        out.text(str(reports[-1][1]))
    n_failed = sum(len(report.failed) for _, report in reports)
    out.data(
        {
            "target": target,
            "ok": n_failed == 0,
            "checked": [
                {
                    "kind": report.kind,
                    "name": name,
                    "n_checks": report.n_checks,
                    "n_failed": len(report.failed),
                    "results": [asdict(result) for result in report.results],
                }
                for name, report in reports
            ],
        }
    )
    if n_failed:
        raise typer.Exit(_BROKEN)


def _checked(entry: Entry) -> ConformanceReport:
    """The report on an entry; what cannot even be imported fails, and keeps nothing else from being checked."""
    from recsys_core.errors import PluginError, UnknownModelError
    from recsys_core.testing import CheckResult, ConformanceReport, check_conformance

    try:
        return check_conformance(entry)
    except (PluginError, UnknownModelError) as fault:
        result = CheckResult("import", "failed", str(fault), 0.0)
        return ConformanceReport(entry.qualified_name, (result,), entry.spec.kind)


def _entries(target: str) -> list[Entry]:
    """What ``target`` speaks of.

    Raises
    ------
    PluginError
        A plugin failed to load, or registers nothing.
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
            return _named(registry, target)
        known = {}
    for record in records:
        _refuse_unloaded(record)
    modules = {record.module for record in records}
    entries = [
        replace(entry, **known) for kind in _KINDS for entry in registry.entries(kind) if entry.module in modules
    ]
    if not entries:
        raise PluginError(
            f"{target}: expected a plugin that registers something, got nothing; there is nothing to check."
        )
    return entries


def _named(registry: Registry, name: str) -> list[Entry]:
    """Everything of this name, of whatever kind."""
    kinds = [
        kind for kind in _KINDS if any(entry.spec.name == name.rpartition(":")[2] for entry in registry.entries(kind))
    ]
    return [registry.find(name, kind) for kind in kinds or ["recommender"]]


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
