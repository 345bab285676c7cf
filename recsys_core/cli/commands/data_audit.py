"""``recsys data audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from recsys_core.cli.command import command
from recsys_core.cli.options import ColumnsOption, ConfigOption, DatasetOption, PathOption, SeparatorOption, SetOption
from recsys_core.cli.output import Output
from recsys_core.cli.wording import ROWS, in_options

if TYPE_CHECKING:
    from recsys_core.data import AuditReport

__all__ = ["print_audit", "register"]

_UNUSABLE = 3


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "audit")(data_audit)


def data_audit(
    out: Output,
    dataset: DatasetOption = None,
    path: PathOption = None,
    columns: ColumnsOption = None,
    separator: SeparatorOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Look at interactions before a model sees them, and list every fault at once.

    Exits with 3 if the data cannot be used, so that a pipeline stops there; warnings do not.
    """
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.sources import audit_source

    flags = run_flags(path=path, dataset=dataset, columns=columns, separator=separator)
    run = read_run_config(config, settings or (), flags=flags)
    report = audit_source(out, run.data)
    out.data(report.to_dict())
    print_audit(out, report)
    if not report.ok:
        raise typer.Exit(_UNUSABLE)


def print_audit(out: Output, report: AuditReport, source: str | None = None) -> None:
    """Print what the data is like, then what was found."""
    size = {
        "source": source,
        "events": f"{report.n_events:,}",
        "users": _count(report.n_users),
        "items": _count(report.n_items),
        "density": None if report.density is None else f"{report.density:.3%}",
        "times": None if report.first_time is None else f"{report.first_time} to {report.last_time}",
        "popularity gini": None if report.popularity_gini is None else f"{report.popularity_gini:.3f}",
    }
    missing = {**report.item_features_missing, **report.user_features_missing}
    if missing:
        size["features"] = ", ".join(f"{name} ({share:.0%} missing)" for name, share in missing.items())
    out.fields({name: value for name, value in size.items() if value is not None})
    spread = {
        "weight": report.weights,
        "events per user": report.events_per_user,
        "events per item": report.events_per_item,
    }
    rows = [
        {"": name, **{key: f"{value:.4g}" for key, value in summary.items()}}
        for name, summary in spread.items()
        if summary
    ]
    if rows:
        out.table(rows)
    for finding in report.findings:
        out.paragraph(f"{finding.severity}: {in_options(str(finding))}")
    if any(finding.rows for finding in report.findings):
        out.paragraph(f"{ROWS.capitalize()}.")
    if not report.findings:
        out.paragraph("Nothing to report.")


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"
