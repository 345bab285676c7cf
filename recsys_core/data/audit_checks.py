"""Checks of readable interactions: nothing here stops them from being read, but results may mislead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from recsys_core.data.order import cell_order
from recsys_core.data.validation import SHOWN_ROWS, Finding, counted, describe_rows, first_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from recsys_core.data.id_map import IdMap
    from recsys_core.types import FloatArray, IndexArray

__all__ = ["CHECKS", "Events", "check_features"]

# More events than this in one second are not the work of a hand.
BURST: Final = 20
SECOND: Final = 10**6


@dataclass(frozen=True, eq=False)
class Events:
    """Indexed events; times in microseconds since the epoch, UTC."""

    users: IdMap
    user_index: IndexArray
    items: IdMap
    item_index: IndexArray
    weights: FloatArray | None
    datetimes: IndexArray | None
    now: int

    @cached_property
    def cells(self) -> IndexArray:
        """One number a user-item pair, for each event."""
        return self.user_index * len(self.items) + self.item_index

    @cached_property
    def cell_order(self) -> IndexArray:
        """The events by pair, and those of one pair in row order; sorted once for all checks."""
        return cell_order(self.user_index, self.item_index, (len(self.users), len(self.items)))

    @cached_property
    def repeats(self) -> npt.NDArray[np.bool_]:
        """Whether each event in :attr:`cell_order` has the pair of the one before it."""
        ordered = self.cells[self.cell_order]
        same: npt.NDArray[np.bool_] = ordered == np.concatenate([[-1], ordered[:-1]])
        return same


def check_repeats(events: Events) -> list[Finding]:
    """Repeated pairs, and among them events that are equal in everything."""
    repeated = events.repeats
    if not repeated.any():
        return []
    count = int(repeated.sum())
    rows = tuple(np.sort(events.cell_order[repeated])[:SHOWN_ROWS].tolist())
    told = counted(count, "event repeats", "events repeat")
    message = f"user_id, item_id: {told} a pair that an earlier row has, at {describe_rows(rows, count)}"
    remedy = 'to_csr adds their weights up; aggregate="last", "max", "count" or "binary" does otherwise'
    findings = [Finding("repeated-pairs", "info", message, remedy, count, rows)]
    if events.datetimes is None:
        return findings
    columns: dict[str, npt.NDArray[Any]] = {"cell": events.cells, "time": events.datetimes}
    if events.weights is not None:
        columns["weight"] = events.weights
    equal = ~pl.DataFrame(columns).select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    if equal.any():
        rows, count = first_rows(equal), int(equal.sum())
        told = counted(count, "event equals", "events equal")
        message = f"{told} an earlier row in user, item, weight and time, at {describe_rows(rows, count)}"
        remedy = "drop the duplicates if they come from loading the data twice"
        findings.append(Finding("duplicate-events", "warning", message, remedy, count, rows))
    return findings


def check_weight_values(events: Events) -> list[Finding]:
    """Weights of zero, and weights so uneven that a few events outweigh the rest."""
    if events.weights is None:
        return []
    findings = []
    zero = events.weights == 0
    if zero.any():
        rows, count = first_rows(zero), int(zero.sum())
        message = f"weight: {counted(count, 'is', 'are')} 0, at {describe_rows(rows, count)}"
        remedy = "a weight of 0 is still an interaction; drop these rows if it means that there was none"
        findings.append(Finding("zero-weights", "warning", message, remedy, count, rows))
    median, largest = float(np.median(events.weights)), float(events.weights.max())
    if median > 0 and largest > 1000 * median:
        message = f"weight: the largest, {largest:.6g}, is over 1000 times the median, {median:.6g}"
        findings.append(Finding("uneven-weights", "warning", message, "a logarithm, such as log1p, tames them"))
    return findings


def check_times(events: Events) -> list[Finding]:
    """Times that are in the future, or the epoch itself, which often stands for a missing time."""
    if events.datetimes is None:
        return []
    findings = []
    future = events.datetimes > events.now
    if future.any():
        rows, count = first_rows(future), int(future.sum())
        message = f"datetime: {counted(count, 'is', 'are')} in the future, at {describe_rows(rows, count)}"
        remedy = "check the time unit and the clock that they come from"
        findings.append(Finding("future-times", "warning", message, remedy, count, rows))
    epoch = events.datetimes == 0
    if epoch.any():
        rows, count = first_rows(epoch), int(epoch.sum())
        message = f"datetime: {counted(count, 'is', 'are')} 1970-01-01 00:00:00, at {describe_rows(rows, count)}"
        findings.append(Finding("epoch-times", "warning", message, "such a time often stands for none", count, rows))
    return findings


def check_time_ties(events: Events) -> list[Finding]:
    """Users whose events all have one time: their order is that of the rows."""
    if events.datetimes is None:
        return []
    n_users = len(events.users)
    first = np.full(n_users, np.iinfo(np.int64).max)
    last = np.full(n_users, np.iinfo(np.int64).min)
    np.minimum.at(first, events.user_index, events.datetimes)
    np.maximum.at(last, events.user_index, events.datetimes)
    several = np.bincount(events.user_index, minlength=n_users) > 1
    tied = several & (first == last)
    count = int(tied.sum())
    if count * 10 < max(1, int(several.sum())):
        return []
    message = f"datetime: {count:,} of {several.sum():,} users with several events had them all at one time"
    remedy = "their order is that of the rows; do not trust sequence models or time splits on them"
    return [Finding("tied-times", "warning", message, remedy, count)]


def check_bursts(events: Events) -> list[Finding]:
    """Users with more events in one second than a hand can make."""
    if events.datetimes is None:
        return []
    seconds = pl.DataFrame({"user": events.user_index, "second": events.datetimes // SECOND})
    busy = seconds.group_by("user", "second").len().filter(pl.col("len") > BURST)
    users = np.unique(busy["user"].to_numpy())
    if not len(users):
        return []
    told = counted(len(users), "user has", "users have")
    message = f"{told} more than {BURST} events in one second, such as {_ids(events.users, users)}"
    remedy = "they may be bots or imports; look at them, and drop them if so"
    return [Finding("bursts", "warning", message, remedy, len(users))]


def check_heavy_users(events: Events) -> list[Finding]:
    """Users with more than half of a catalogue of at least 100 items."""
    n_items = len(events.items)
    if n_items < 100:
        return []
    first_of_pair = events.cell_order[~events.repeats]
    per_user = np.bincount(events.user_index[first_of_pair], minlength=len(events.users))
    users = np.flatnonzero(per_user * 2 > n_items)
    if not len(users):
        return []
    told = counted(len(users), "user", "users")
    message = f"{told} interacted with over half of the items, such as {_ids(events.users, users)}"
    remedy = "they may be bots or test accounts; they link every item with every other"
    return [Finding("heavy-users", "warning", message, remedy, len(users))]


def check_cold(events: Events) -> list[Finding]:
    """Users and items with a single event."""
    findings = []
    for what, ids, index in (("user", events.users, events.user_index), ("item", events.items, events.item_index)):
        count = int((np.bincount(index, minlength=len(ids)) == 1).sum())
        if count:
            message = f"{count:,} of {counted(len(ids), what, f'{what}s')} ({count / len(ids):.1%}) with a single event"
            findings.append(Finding(f"cold-{what}s", "info", message, "filter_min drops them", count))
    return findings


def check_same_ids(events: Events) -> list[Finding]:
    """Users that are the items: most likely one column was read as both."""
    users, items = events.users.ids, events.items.ids
    if len(users) == 1 or not users.equals(items) or not np.array_equal(events.user_index, events.item_index):
        return []
    message = "user_id, item_id: every row has the same id as user and as item"
    return [Finding("same-ids", "warning", message, "check which columns hold the users and the items", len(users))]


def check_spelling(events: Events) -> list[Finding]:
    """String ids that differ only in case or in surrounding blanks."""
    findings = []
    for what, ids in (("user", events.users.ids), ("item", events.items.ids)):
        if ids.dtype != pl.String:
            continue
        same = ids.str.strip_chars().str.to_lowercase().is_duplicated()
        count = int(same.sum())
        if count:
            examples = ", ".join(repr(value) for value in ids.filter(same).head(SHOWN_ROWS))
            told = counted(count, "id differs", "ids differ")
            message = f"{what}_id: {told} from another only in case or blanks, such as {examples}"
            remedy = "strip and fold them if they mean the same"
            findings.append(Finding("similar-ids", "warning", message, remedy, count))
    return findings


def check_blank_ids(events: Events) -> list[Finding]:
    """A string id of nothing but blanks, which most likely stands for a missing one."""
    findings = []
    for what, index, ids in (
        ("user", events.user_index, events.users.ids),
        ("item", events.item_index, events.items.ids),
    ):
        if ids.dtype != pl.String:
            continue
        blank = (ids.str.strip_chars() == "").to_numpy()
        count = int(np.count_nonzero(blank[index]))
        if count:
            message = f"{what}_id: {counted(count, 'row has', 'rows have')} an id of nothing but blanks"
            findings.append(Finding("blank-ids", "warning", message, "drop the rows if the id is missing", count))
    return findings


CHECKS: Final[tuple[Callable[[Events], list[Finding]], ...]] = (
    check_repeats,
    check_weight_values,
    check_times,
    check_time_ties,
    check_bursts,
    check_heavy_users,
    check_cold,
    check_same_ids,
    check_spelling,
    check_blank_ids,
)


def check_features(features: pl.DataFrame, argument: str) -> tuple[dict[str, float], list[Finding]]:
    """Return the share of missing values of each feature, and findings about features of little use."""
    missing = {}
    findings = []
    for feature in features.iter_columns():
        if feature.name == features.columns[0]:
            continue
        absent = feature.is_null() | feature.is_nan() if feature.dtype.is_float() else feature.is_null()
        share = float(absent.mean())  # type: ignore[arg-type]  # a float, as the table is not empty
        missing[feature.name] = share
        name = f"{argument}[{feature.name!r}]"
        if share > 0.5:
            message = f"{name}: {share:.1%} of the values are missing"
            findings.append(Finding("features-missing", "warning", message, "", int(absent.sum())))
        elif not feature.dtype.is_nested() and feature.drop_nulls().n_unique() == 1 and len(feature) > 1:
            findings.append(Finding("features-constant", "info", f"{name}: all values are the same"))
    return missing, findings


def _ids(ids: IdMap, index: npt.NDArray[Any]) -> str:
    return ", ".join(repr(value) for value in ids.labels(index[:SHOWN_ROWS]))
