"""Feature tables, one row an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.data.frames import read_table
from recsys_core.data.validation import Finding, Severity, check_ids
from recsys_core.errors import DataError, DTypeError

if TYPE_CHECKING:
    from recsys_core.data.id_map import IdMap

__all__ = ["align_features", "check_features", "with_described"]


def align_features(
    table: Any, ids: IdMap, part: str, column: str | None = None
) -> tuple[pl.DataFrame | None, list[Finding]]:
    """Bring a feature table into the order of an id map: row i describes id i.

    Parameters
    ----------
    table
        A data frame with a column of ids and any other columns: numbers, categories, text, lists.
    ids
        The ids to describe.  Those that the table lacks get nulls; rows of other ids are dropped, and counted
        in the findings.
    part
        "user_id" or "item_id": the name of the id column in the result, where it comes first.
    column
        Name of the id column in the table; ``part`` if the table has no such column.

    Returns
    -------
    features
        Shape (len(ids), 1 + n_features), or None if there are errors.
    findings
        What was wrong, dropped or missing.
    """
    argument = f"{part.removesuffix('_id')}_features"
    frame = read_table(table, argument)
    name = column if column is not None and column in frame.columns else part
    if name not in frame.columns:
        message = f"{argument}: expected a column {part!r}, got {', '.join(map(repr, frame.columns))}"
        return None, [Finding("features-id", "error", message, f"rename the column with the ids to {part!r}")]
    if name != part and part in frame.columns:
        message = f"{argument}: expected one column of ids, got both {part!r} and {name!r}"
        return None, [Finding("features-id", "error", message, f"drop or rename {part!r}")]
    keys = frame[name]
    findings = check_ids(keys, f"{argument}[{name!r}]")
    if findings:
        return None, findings
    repeated = keys.is_duplicated()
    if repeated.any():
        example = keys.filter(repeated)[0]
        count = int(repeated.sum())
        message = f"{argument}: expected one row an id, got {count} rows that share an id, such as {example!r}"
        return None, [Finding("features-repeated", "error", message, f"keep one row: .unique({name!r})", count)]
    try:
        target = ids.index_of(keys)
    except DTypeError as error:
        message = f"{argument}[{name!r}]: ids of another type than in the interactions ({error})"
        return None, [Finding("features-id", "error", message, "", len(keys), error=DTypeError)]
    known = target >= 0
    dropped, absent = int((~known).sum()), len(ids) - int(known.sum())
    what = part.removesuffix("_id")
    if dropped:
        message = f"{argument}: {dropped} of {len(keys)} rows describe {what}s without interactions and are dropped"
        findings.append(Finding("features-unknown", "info", message, "", dropped))
    if absent:
        message = f"{argument}: {absent} of {len(ids)} {what}s with interactions have no row and get nulls"
        severity: Severity = "warning" if absent * 2 > len(ids) else "info"
        remedy = "check that both tables spell their ids alike" if severity == "warning" else ""
        findings.append(Finding("features-absent", severity, message, remedy, absent))
    row_of = np.full(len(ids), -1, dtype=np.int64)
    row_of[target[known]] = np.flatnonzero(known)
    rows = pl.Series(row_of)
    rows = rows.set(rows < 0, None)
    described = [frame[other].gather(rows) for other in frame.columns if other != name]
    return pl.DataFrame([ids.ids.alias(part), *described]), findings


def with_described(table: Any, ids: IdMap, part: str, column: str | None = None) -> IdMap:
    """The id map with the ids that only a feature table has behind its own, in the table's order.

    Parameters
    ----------
    table, ids, part, column
        As for :func:`align_features`, which also says what is wrong with a table: here a faulty one adds nothing.
    """
    frame = read_table(table, f"{part.removesuffix('_id')}_features")
    name = column if column is not None and column in frame.columns else part
    if name not in frame.columns:
        return ids
    keys = frame[name]
    if check_ids(keys, name):
        return ids
    try:
        return ids.extended(keys)
    except DTypeError:
        return ids


def check_features(features: pl.DataFrame | None, ids: IdMap, part: str) -> None:
    """Check that a table is as :func:`align_features` leaves it."""
    if features is None:
        return
    if features.columns[:1] != [part] or not features[part].equals(ids.ids):
        raise DataError(
            f"{part.removesuffix('_id')}_features: expected a first column {part!r} that equals the id map; "
            "use with_features, which brings a table into that order"
        )
