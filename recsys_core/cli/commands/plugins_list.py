"""``recsys plugins list``."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "list")(plugins_list)


def plugins_list(
    out: Output,
    details: Annotated[bool, typer.Option("--details", help="Print the traceback of each failure.")] = False,
) -> None:
    """List the installed plugins and what became of each: loaded, disabled or failed.

    A plugin is an entry point in the group recsys_core.plugins. RECSYS_PLUGINS chooses which load: names separated by
    commas, -NAME to leave one out, empty for none.
    """
    from recsys_core.registry import default_registry

    registry = default_registry()
    records = registry.plugins
    out.data(
        {
            "plugins": [
                {
                    "name": record.name,
                    "distribution": record.distribution,
                    "version": record.version,
                    "module": record.module,
                    "status": record.status,
                    "offers": [{"kind": spec.kind, "name": spec.name} for spec in record.specs],
                    "refused": list(record.refused),
                    "error": record.error,
                    "traceback": record.traceback,
                }
                for record in records
            ]
        }
    )
    if records:
        out.table(
            [
                {
                    "plugin": record.name,
                    "from": f"{record.distribution} {record.version}".strip(),
                    "module": record.module,
                    "status": record.status,
                    # A kit is for plugin authors, and has the name of what it checks.
                    "offers": [spec.name for spec in record.specs if spec.kind != "kit"] or None,
                }
                for record in records
            ]
        )
    else:
        out.note("No plugin is installed.")
    for fault in registry.environment_faults:
        out.warn(fault)
    for record in records:
        for line in record.refused:
            out.text(f"{record.name}: refused {line}")
        if record.status == "failed":
            out.text(f"{record.name}: {record.error}")
            if details:
                out.text(record.traceback)
