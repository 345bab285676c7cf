"""``recsys models list``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["Kind", "register"]


class Kind(StrEnum):
    """What plugins can register."""

    recommender = "recommender"
    encoder = "encoder"
    metric = "metric"
    reranker = "reranker"
    dataset = "dataset"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "list")(models_list)


def models_list(
    out: Output,
    pattern: Annotated[str, typer.Argument(help="A shell pattern for the name, such as '*als*'.")] = "*",
    kind: Annotated[Kind, typer.Option("--kind", help="What to list.")] = Kind.recommender,
) -> None:
    """List what the installed plugins offer.

    Nothing of a plugin but its list is imported.
    """
    from recsys_core.registry import default_registry

    registry = default_registry()
    entries = registry.entries(kind.value, pattern)
    rows = [
        {
            "name": entry.spec.name,
            "summary": entry.spec.summary,
            "capabilities": sorted(entry.spec.capabilities),
            "distribution": f"{entry.distribution} {entry.version}".strip(),
        }
        for entry in entries
    ]
    out.data({"kind": kind.value, "pattern": pattern, "entries": rows})
    if rows:
        out.table(rows)
        option = "" if kind is Kind.recommender else f" --kind {kind.value}"
        out.note(f"Settings of one: recsys models show NAME{option}")
    else:
        out.note(f"No {kind.value} matches {pattern!r}.")
        disabled = [plugin.name for plugin in registry.plugins if plugin.status == "disabled"]
        if disabled:
            out.note(f"RECSYS_PLUGINS disables these plugins: {', '.join(disabled)}.")
    for fault in registry.environment_faults:
        out.warn(f"{fault} See `recsys plugins list`.")
    for plugin in registry.plugins:
        if plugin.status == "failed":
            out.warn(f"plugin {plugin.name} failed to load: {plugin.error} See `recsys plugins list`.")
