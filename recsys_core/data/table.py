"""From a raw table to checked columns: the one path that both reading and auditing take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recsys_core.data.columns import likely_column, map_columns
from recsys_core.data.frames import count_rows, open_frame, read_columns
from recsys_core.data.times import TimeUnit, parse_datetimes
from recsys_core.data.validation import Finding, check_ids, check_not_empty, parse_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from recsys_core.types import FloatArray, IndexArray

__all__ = ["CheckedTable", "check_columns", "check_table"]


@dataclass
class CheckedTable:
    """The columns of a table of interactions, and what is wrong with them.

    A column that is absent or cannot be used is None; if no finding is an error, both ids are there.
    """

    n_rows: int
    user_ids: pl.Series | None = None
    item_ids: pl.Series | None = None
    weights: FloatArray | None = None
    datetimes: IndexArray | None = None
    findings: list[Finding] = field(default_factory=list)


def check_table(
    frame: Any, columns: Mapping[str, str | None] | None = None, time_unit: TimeUnit | None = None
) -> CheckedTable:
    """Map, read and check the columns of a data frame."""
    opened = open_frame(frame)
    available = opened.collect_schema().names()
    mapping, findings = map_columns(available, columns)
    # A rating that nobody mapped must not be lost without a word.
    findings += _unmapped(available, mapping, columns)
    read = dict(zip(mapping, read_columns(opened, list(mapping.values())), strict=True))
    table = check_columns(read, time_unit)
    if not read:
        table.n_rows = count_rows(opened)
    table.findings = findings + table.findings
    return table


def check_columns(columns: Mapping[str, pl.Series], time_unit: TimeUnit | None = None) -> CheckedTable:
    """Check columns, of one length, given by the part they play; messages use the columns' own names."""
    n_rows = max(map(len, columns.values()), default=0)
    table = CheckedTable(n_rows)
    if columns:
        table.findings += check_not_empty(n_rows)
    for part in ("user_id", "item_id"):
        ids = columns.get(part)
        if ids is None or not n_rows:
            continue
        findings = check_ids(ids, ids.name)
        table.findings += findings
        if not findings:
            setattr(table, f"{part}s", ids)
    if "weight" in columns and n_rows:
        table.weights, findings = parse_weights(columns["weight"], columns["weight"].name)
        table.findings += findings
    if "datetime" in columns and n_rows:
        table.datetimes, findings = parse_datetimes(columns["datetime"], columns["datetime"].name, time_unit)
        table.findings += findings
    return table


def _unmapped(
    available: list[str], mapping: Mapping[str, str], columns: Mapping[str, str | None] | None
) -> list[Finding]:
    findings = []
    for part, without in (("weight", "all weights are 1"), ("datetime", "the row order is taken as the time order")):
        if part in mapping or (columns is not None and part in columns):
            continue
        guess = likely_column(part, [name for name in available if name not in mapping.values()])
        if guess is not None:
            message = f"{part}: {without}, though the column {guess!r} looks like it"
            remedy = f'pass columns={{"{part}": {guess!r}}}, or {{"{part}": None}} to leave it out'
            findings.append(Finding("unmapped-column", "warning", message, remedy))
    return findings
