"""Whom a model serves well and whom badly: an evaluation taken apart by groups of users."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.metrics.comparison import holm
from recsys_core.metrics.resampling import bootstrap_interval, welch_p_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recsys_core.data import Interactions
    from recsys_core.metrics.evaluation import Evaluation

__all__ = ["GroupComparison", "GroupValue", "activity_groups", "compare_groups"]

MAX_GROUPS = 50


@dataclass(frozen=True)
class GroupValue:
    """A metric in one group of users.

    Attributes
    ----------
    metric
        Name, such as ``"ndcg@10"``.
    group
        The value that these users share, as text.
    n_users
        Users of the group for whom the metric is defined.
    value
        Its mean over them.
    low, high
        Bootstrap interval of that mean.
    difference
        ``value`` less the mean over all users of the other groups; NaN if there are none.
    p_value
        Two-sided, of the null hypothesis that the two means are equal (Welch's t-test).
    p_adjusted
        The same, corrected by Holm for the number of groups and metrics looked at.
    """

    metric: str
    group: str
    n_users: int
    value: float
    low: float
    high: float
    difference: float
    p_value: float
    p_adjusted: float


@dataclass(frozen=True)
class GroupComparison:
    """An evaluation by groups of users, made by :func:`compare_groups`.

    Attributes
    ----------
    model
        Name of the model.
    column
        What the users are grouped by.
    values
        One :class:`GroupValue` a metric and group.
    confidence
        Of the intervals.
    n_without
        Evaluated users of no group; they play no part.
    """

    model: str
    column: str
    values: tuple[GroupValue, ...]
    confidence: float
    n_without: int

    def to_frame(self) -> pl.DataFrame:
        """Table with one row a metric and group; the columns are the attributes of :class:`GroupValue`."""
        return pl.DataFrame([asdict(value) for value in self.values])

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content: a NaN becomes None."""
        rows = [{name: None if value != value else value for name, value in asdict(row).items()} for row in self.values]
        return asdict(self) | {"values": rows}

    def __str__(self) -> str:
        lines = [f"{self.model} by {self.column}"]
        if self.n_without:
            lines.append(f"  left out: {self.n_without} users of no group")
        width = max(6, *(len(row.metric) for row in self.values))
        group = max(5, *(len(row.group) for row in self.values))
        interval = f"{100 * self.confidence:g}% interval"
        lines.append(f"  {'metric':<{width}}  {'group':<{group}}  users     value  {interval:<17}  to others  p (Holm)")
        lines += [
            f"  {row.metric:<{width}}  {row.group:<{group}}  {row.n_users:>5}  {row.value:>8.4f}  "
            f"{row.low:.4f} - {row.high:.4f}    {row.difference:>+9.4f}  {row.p_adjusted:>8.4f}"
            for row in self.values
        ]
        return "\n".join(lines)


def compare_groups(
    evaluation: Evaluation,
    groups: Any,
    column: str | None = None,
    *,
    metric: str | Iterable[str] | None = None,
    confidence: float = 0.95,
    n_samples: int = 1000,
    random_state: int = 0,
) -> GroupComparison:
    """Take an evaluation apart by groups of users.

    Parameters
    ----------
    evaluation
        Made by :func:`evaluate`.
    groups
        A data frame with ``user_id`` and what the users are grouped by, such as ``interactions.user_features`` or
        :func:`activity_groups`.  A user without a row, or with a null, belongs to no group.
    column
        The column to group by; needed where there are several.
    metric
        Metrics with a value for each user; all of the evaluation's if None.
    confidence
        Of the intervals, in (0, 1).
    n_samples
        Bootstrap samples; O(n_users) time each.
    random_state
        Seed of the intervals.

    Returns
    -------
    GroupComparison
        Groups in ascending order.

    Raises
    ------
    ConfigError
        A metric or the column is unknown, or an argument out of range.
    DataError
        There is no ``user_id``, a user has two rows, no evaluated user has a group, or there are more than 50 groups.
    DTypeError
        The user ids are of another type than the evaluation's, or the column holds lists.

    Notes
    -----
    It tells where the metric differs, not why: groups also differ in how much they have had, which
    :func:`activity_groups` shows, and in what a split tests them on.  A metric over few users says little: look at
    the intervals.

    Examples
    --------
    >>> from recsys_core import Interactions, create, evaluate
    >>> from recsys_core.data import Split
    >>> import polars as pl
    >>> train = Interactions.from_arrays(list("aabbcd"), list("xyxzxx"))
    >>> test = Interactions.from_arrays(list("abcd"), list("zyyy"))
    >>> result = evaluate(create("popularity").fit(train), Split(train, test, None), k=1, metrics="recall")
    >>> ages = pl.DataFrame({"user_id": list("abcd"), "age": ["old", "old", "young", "young"]})
    >>> [(row.group, row.value) for row in compare_groups(result, ages).values]
    [('old', 1.0), ('young', 1.0)]
    """
    from recsys_core.data.frames import read_table

    table, column = _grouping(read_table(groups, "groups"), column)
    names = _metrics(evaluation, metric)
    of_users, of_groups = evaluation.per_user["user_id"].dtype, table["user_id"].dtype
    if of_users != of_groups:
        raise DTypeError(f"groups: expected user ids of type {of_users}, as the evaluation has, got {of_groups}")
    joined = evaluation.per_user.join(table, on="user_id", how="left", maintain_order="left")
    grouped = joined.filter(pl.col(column).is_not_null())
    labels = grouped[column].unique().sort()
    if not len(labels):
        raise DataError(f"groups: expected a value of {column!r} for some of {len(joined)} evaluated users, got none")
    if len(labels) > MAX_GROUPS:
        raise DataError(
            f"groups: expected at most {MAX_GROUPS} groups, got {len(labels)} values of {column!r}; "
            f"cut them into bins, for example with groups.with_columns(pl.col({column!r}).qcut(4))"
        )
    found = []
    for name in names:
        for label in labels:
            inside = pl.col(column) == label
            mine, others = (
                grouped.filter(part)[name].drop_nulls().to_numpy().astype(np.float64) for part in (inside, ~inside)
            )
            interval = bootstrap_interval(mine, confidence=confidence, n_samples=n_samples, random_state=random_state)
            value, rest = (float(part.mean()) if len(part) else float("nan") for part in (mine, others))
            p_value = welch_p_value(mine, others)
            found.append(GroupValue(name, str(label), len(mine), value, *interval, value - rest, p_value, p_value))
    adjusted = holm(np.array([row.p_value for row in found]))
    return GroupComparison(
        model=evaluation.model,
        column=column,
        values=tuple(replace(row, p_adjusted=p) for row, p in zip(found, adjusted.tolist(), strict=True)),
        confidence=confidence,
        n_without=len(joined) - len(grouped),
    )


def activity_groups(interactions: Interactions, n_groups: int = 4) -> pl.DataFrame:
    """Groups of about equal size by how many distinct items users had.

    Parameters
    ----------
    interactions
        Usually ``split.train``.
    n_groups
        At least 2; fewer come out where many users had as much.

    Returns
    -------
    polars.DataFrame
        ``user_id`` and ``activity``, an ordered category such as ``"1-12"``.

    Raises
    ------
    ConfigError
        ``n_groups`` is below 2.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(list("abccddd"), list("xxyxxyz"))
    >>> activity_groups(sales, 2)["activity"].to_list()
    ['1', '1', '2-3', '2-3']
    """
    if type(n_groups) is not int or n_groups < 2:
        raise ConfigError(f"n_groups: expected an integer of at least 2, got {n_groups!r}")
    number = np.diff(interactions.to_csr().indptr)
    # The smallest number of each group; equal numbers stay together.
    first = np.unique(np.quantile(number, np.arange(n_groups) / n_groups, method="higher"))
    group = np.searchsorted(first, number, side="right") - 1
    last = [int(number[group == place].max()) for place in range(len(first))]
    names = [str(low) if low == high else f"{low}-{high}" for low, high in zip(first.tolist(), last, strict=True)]
    activity = pl.Series("activity", [names[place] for place in group], dtype=pl.Enum(names))
    return pl.DataFrame([interactions.users.ids.alias("user_id"), activity])


def _grouping(table: pl.DataFrame, column: str | None) -> tuple[pl.DataFrame, str]:
    """``user_id`` and the one column that groups, checked."""
    if "user_id" not in table.columns:
        raise DataError(f"groups: expected a column user_id, got {', '.join(table.columns) or 'no columns'}")
    others = [name for name in table.columns if name != "user_id"]
    if column is None and len(others) == 1:
        column = others[0]
    if column not in others:
        got = "none" if column is None else repr(column)
        raise ConfigError(f"column: expected one of {', '.join(others) or '(there is none)'}, got {got}")
    if table[column].dtype.is_nested():
        raise DTypeError(f"groups: expected one value of {column!r} for each user, got {table[column].dtype}")
    twice = table["user_id"].is_duplicated()
    if twice.any():
        raise DataError(f"groups: expected one row a user, got several of {table.filter(twice)['user_id'][0]!r}")
    return table.select("user_id", column), column


def _metrics(evaluation: Evaluation, metric: str | Iterable[str] | None) -> list[str]:
    known = evaluation.per_user.columns[1:]
    asked = known if metric is None else [metric] if isinstance(metric, str) else list(metric)
    missing = [name for name in asked if name not in known]
    if missing or not asked:
        raise ConfigError(
            f"metric: expected metrics with a value for each user ({', '.join(known) or 'there is none'}), "
            f"got {', '.join(map(repr, missing)) or 'none'}"
        )
    return asked
