"""What a table of interactions is like, and what is wrong with it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.data.audit_checks import CHECKS, Events, check_features
from recsys_core.data.concentration import gini
from recsys_core.data.features import align_features
from recsys_core.data.id_map import factorize
from recsys_core.data.interactions import Interactions
from recsys_core.data.table import CheckedTable, check_table
from recsys_core.data.times import as_micros
from recsys_core.data.validation import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from recsys_core.data.id_map import IdMap
    from recsys_core.data.times import TimeUnit
    from recsys_core.data.validation import Finding, Severity
    from recsys_core.types import IndexArray

__all__ = ["AuditReport", "audit"]


@dataclass(frozen=True)
class AuditReport:
    """The outcome of :func:`audit`; what could not be computed is None or empty.

    Attributes
    ----------
    n_events, n_users, n_items
        Rows, and distinct ids.
    n_pairs
        Distinct user-item pairs.
    density
        ``n_pairs / (n_users * n_items)``.
    first_time, last_time
        ISO 8601, UTC.
    weights, events_per_user, events_per_item
        ``min``, ``p25``, ``median``, ``p75``, ``p99``, ``max`` and ``mean``.
    popularity_gini
        Gini coefficient of the events per item: 0 if all are equally popular, towards 1 if few have all events.
    item_features_missing, user_features_missing
        Share of missing values of each feature, in [0, 1].
    findings
        What the checks found: errors, then warnings, then notes.
    """

    n_events: int
    n_users: int | None = None
    n_items: int | None = None
    n_pairs: int | None = None
    density: float | None = None
    first_time: str | None = None
    last_time: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    events_per_user: dict[str, float] = field(default_factory=dict)
    events_per_item: dict[str, float] = field(default_factory=dict)
    popularity_gini: float | None = None
    item_features_missing: dict[str, float] = field(default_factory=dict)
    user_features_missing: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the data can be read: no finding is an error."""
        return not self.of("error")

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        return {**asdict(self), "findings": [finding.to_dict() for finding in self.findings], "ok": self.ok}

    def __str__(self) -> str:
        lines = [counted(self.n_events, "event", "events")]
        if self.n_users is not None:
            lines[0] += ", " + counted(self.n_users, "user", "users")
        if self.n_items is not None:
            lines[0] += ", " + counted(self.n_items, "item", "items")
        if self.density is not None:
            lines[0] += f", density {self.density:.3g}"
        if self.first_time is not None:
            lines.append(f"times             {self.first_time} to {self.last_time}")
        for name in ("weights", "events_per_user", "events_per_item"):
            summary = getattr(self, name)
            if summary:
                values = ", ".join(f"{key} {value:.4g}" for key, value in summary.items())
                lines.append(f"{name.replace('_', ' '):<17} {values}")
        if self.popularity_gini is not None:
            lines.append(f"popularity gini   {self.popularity_gini:.3f}")
        for what in ("item", "user"):
            rates = getattr(self, f"{what}_features_missing")
            if rates:
                values = ", ".join(f"{name} ({rate:.1%} missing)" for name, rate in rates.items())
                lines.append(f"{what} features     {values}")
        lines += [f"{finding.severity}: {finding}" for finding in self.findings]
        if not self.findings:
            lines.append("nothing to report")
        return "\n".join(lines)


def audit(
    data: Any,
    *,
    columns: Mapping[str, str | None] | None = None,
    item_features: Any = None,
    user_features: Any = None,
    time_unit: TimeUnit | None = None,
    now: dt.datetime | None = None,
) -> AuditReport:
    """Look at interactions before they are used, and report every fault at once.

    Parameters
    ----------
    data
        A data frame as for :meth:`Interactions.from_frame`, or interactions.
    columns, item_features, user_features, time_unit
        As in :meth:`Interactions.from_frame`, for a data frame.
    now
        Times after this are reported as in the future; the present if None.

    Returns
    -------
    AuditReport
        It has an error exactly if :meth:`Interactions.from_frame` would raise, in the same words.

    Raises
    ------
    DTypeError
        If ``data`` is neither.
    ConfigError
        If ``columns`` or ``time_unit`` are wrong.

    Notes
    -----
    O(n log n).

    Examples
    --------
    >>> import polars as pl
    >>> report = audit(pl.DataFrame({"user_id": [1, 2, None], "item_id": [5, 5, 6], "weight": [1.0, -1.0, 3.0]}))
    >>> report.ok
    False
    >>> print(report)
    3 events, 2 items
    error: user_id: expected an id in every row, got null at row 2; drop these rows or fill in their ids
    error: weight: expected a weight of at least 0 in every row, got row 1 (-1.0); drop these rows, or shift the \
weights; a weight says how strong the evidence for the item is
    """
    moment = as_micros(dt.datetime.now(dt.UTC) if now is None else now, "now")
    tables: dict[str, Any] = {"user": user_features, "item": item_features}
    ids: dict[str, tuple[IdMap, IndexArray]] = {}
    if isinstance(data, Interactions):
        data = data.select(slice(None))  # leaves out ids without an event
        table = CheckedTable(len(data), weights=data.weight, datetimes=data.datetime)
        tables = {"user": data.user_features, "item": data.item_features}
        ids["user"] = data.users, data.user_index.astype(np.int64)
        ids["item"] = data.items, data.item_index.astype(np.int64)
    else:
        table = check_table(data, columns, time_unit)
        for what, series in (("user", table.user_ids), ("item", table.item_ids)):
            if series is not None:
                ids[what] = factorize(series)
    report: dict[str, Any] = {"n_events": table.n_rows}
    findings = list(table.findings)
    for what, (id_map, _) in ids.items():
        report[f"n_{what}s"] = len(id_map)
        if tables[what] is not None:
            part = f"{what}_id"
            name = None if columns is None else columns.get(part)
            features, found = align_features(tables[what], id_map, part, name)
            findings += found
            if features is not None:
                missing, found = check_features(features, f"{what}_features")
                report[f"{what}_features_missing"] = missing
                findings += found
    if len(ids) == 2:
        events = Events(*ids["user"], *ids["item"], table.weights, table.datetimes, moment)
        report |= _describe(events)
        for check in CHECKS:
            findings += check(events)
    report |= _describe_columns(table)
    rank = {"error": 0, "warning": 1, "info": 2}
    findings.sort(key=lambda finding: rank[finding.severity])
    return AuditReport(**report, findings=tuple(findings))


def _describe(events: Events) -> dict[str, Any]:
    n_users, n_items = len(events.users), len(events.items)
    n_pairs = len(events.cells) - int(events.repeats.sum())
    per_item = np.bincount(events.item_index, minlength=n_items)
    return {
        "n_pairs": n_pairs,
        "density": n_pairs / (n_users * n_items),
        "events_per_user": _summary(np.bincount(events.user_index, minlength=n_users)),
        "events_per_item": _summary(per_item),
        "popularity_gini": gini(per_item),
    }


def _describe_columns(table: CheckedTable) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if table.weights is not None:
        described["weights"] = _summary(table.weights)
    if table.datetimes is not None:
        limits = pl.Series([table.datetimes.min(), table.datetimes.max()]).cast(pl.Datetime("us"))
        described["first_time"], described["last_time"] = limits.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return described


def _summary(values: npt.NDArray[Any]) -> dict[str, float]:
    shares = {"min": 0, "p25": 25, "median": 50, "p75": 75, "p99": 99, "max": 100}
    quantiles = np.percentile(values, list(shares.values()))
    return {**dict(zip(shares, quantiles.tolist(), strict=True)), "mean": float(values.mean(dtype=np.float64))}
