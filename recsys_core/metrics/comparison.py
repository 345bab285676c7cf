"""Compare two models, user by user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.metrics.resampling import bootstrap_interval, randomization_p_value, t_test_p_value

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.metrics.evaluation import Evaluation
    from recsys_core.metrics.resampling import Interval

__all__ = ["Comparison", "Difference", "compare"]

SignificanceTest: TypeAlias = Literal["randomization", "t"]


@dataclass(frozen=True)
class Difference:
    """Two models on one metric, over the users that both have a value for.

    Attributes
    ----------
    metric
        Name, such as ``"ndcg@10"``.
    a, b
        Means of the two over those users.
    difference
        ``a - b``.
    low, high
        Bootstrap interval of the difference.
    p_value
        Two-sided, of the null hypothesis that there is no difference.
    p_adjusted
        The same, corrected for the number of metrics compared.
    wins, ties, losses
        Users for whom a is better than, equal to, worse than b; "better" in the metric's direction.
    n_users
        How many users there are.
    verdict
        ``"a"`` or ``"b"``, the better one, if ``p_adjusted`` is at most ``1 - confidence``; else ``"-"``.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    wins: int
    ties: int
    losses: int
    n_users: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side, made by :func:`compare`; index it by the name of a metric.

    Attributes
    ----------
    model_a, model_b
        Names of the models.
    differences
        One :class:`Difference` a metric.
    confidence
        Of the intervals; ``1 - confidence`` is the level of the verdicts.
    n_only_a, n_only_b
        Users that only one of the two evaluations has; they play no part.
    """

    model_a: str
    model_b: str
    differences: tuple[Difference, ...]
    confidence: float
    n_only_a: int
    n_only_b: int

    def __getitem__(self, metric: str) -> Difference:
        for difference in self.differences:
            if difference.metric == metric:
                return difference
        known = ", ".join(difference.metric for difference in self.differences)
        raise ConfigError(f"metric: expected one of {known}; got {metric!r}")

    def to_frame(self) -> pl.DataFrame:
        """Table with one row a metric; the columns are the attributes of :class:`Difference`."""
        return pl.DataFrame([asdict(difference) for difference in self.differences])

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content."""
        return asdict(self) | {"differences": [asdict(difference) for difference in self.differences]}

    def __str__(self) -> str:
        lines = [f"a = {self.model_a}, b = {self.model_b}"]
        if self.n_only_a or self.n_only_b:
            lines.append(f"  left out: {self.n_only_a} users only in a, {self.n_only_b} only in b")
        width = max(6, *(len(difference.metric) for difference in self.differences))
        interval = f"{100 * self.confidence:g}% interval"
        lines.append(
            f"  {'metric':<{width}}  {'a':>9}  {'b':>9}  {'a - b':>9}  {interval:^21}  {'p adj.':>7}  "
            f"{'win/tie/loss':>18}  better"
        )
        for one in self.differences:
            counts = f"{one.wins}/{one.ties}/{one.losses}"
            lines.append(
                f"  {one.metric:<{width}}  {one.a:>9.4f}  {one.b:>9.4f}  {one.difference:>+9.4f}  "
                f"[{one.low:>+8.4f}, {one.high:>+8.4f}]  {one.p_adjusted:>7.4f}  {counts:>18}  {one.verdict}"
            )
        return "\n".join(lines)


def compare(
    a: Evaluation,
    b: Evaluation,
    *,
    metric: str | Iterable[str] | None = None,
    confidence: float = 0.95,
    test: SignificanceTest = "randomization",
    correction: Literal["holm", "none"] = "holm",
    n_samples: int = 1000,
    n_permutations: int = 10_000,
    random_state: int = 0,
) -> Comparison:
    """Test whether two models differ, paired over the users that both were evaluated on.

    Parameters
    ----------
    a, b
        Two evaluations of the same split.
    metric
        Name or names of list metrics, such as ``"ndcg@10"``; by default all that both have a value for.
    confidence
        Of the intervals, in (0, 1); verdicts are given at the level ``1 - confidence``.
    test
        ``"randomization"``: paired randomisation test, which assumes no distribution; ``"t"``: paired t-test, faster
        and as good for many users (Smucker et al., CIKM 2007).
    correction
        ``"holm"`` (Holm, "A simple sequentially rejective multiple test procedure", 1979) keeps the chance of any false
        verdict among the metrics below the level; ``"none"``.
    n_samples, n_permutations
        Resamples of the interval and of the randomisation test; O(n_users) time each, in bounded memory.
    random_state
        Seed; the same seed gives the same comparison.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError
        If a metric is not in both, or an argument is out of range.
    DataError
        If the two were evaluated on different test interactions, have no user in common, or a metric asked for is
        undefined for all of them.
    DTypeError
        If the user ids of the two have different types.
    """
    if test not in ("randomization", "t"):
        raise ConfigError(f"test: expected 'randomization' or 't', got {test!r}")
    if correction not in ("holm", "none"):
        raise ConfigError(f"correction: expected 'holm' or 'none', got {correction!r}")
    if a.test_digest and b.test_digest and a.test_digest != b.test_digest:
        raise DataError("b: expected an evaluation on the same test interactions as a, got others; use one split")
    names = _common_metrics(a, b, metric)
    pairs = _common_users(a, b, names)
    found: list[Difference] = []
    for name in names:
        both = pairs.select(name, f"{name}:b").drop_nulls()
        if len(both):
            values_a, values_b = (column.to_numpy() for column in both)
            difference = values_a - values_b
            p_value = (
                t_test_p_value(difference)
                if test == "t"
                else randomization_p_value(difference, n_permutations=n_permutations, random_state=random_state)
            )
            interval = bootstrap_interval(
                difference, confidence=confidence, n_samples=n_samples, random_state=random_state
            )
            found.append(_describe(name, values_a, values_b, interval, p_value, a.higher_is_better[name]))
        elif metric is not None:
            raise DataError(f"metric: {name!r} is undefined for all {len(pairs)} users in common")
    if not found:
        raise DataError(f"metric: all of {', '.join(names)} are undefined for all {len(pairs)} users in common")
    p_values = np.array([one.p_value for one in found])
    adjusted = holm(p_values) if correction == "holm" else p_values
    return Comparison(
        model_a=a.model,
        model_b=b.model,
        differences=tuple(
            replace(one, p_adjusted=p, verdict=one.verdict if p <= 1.0 - confidence else "-")
            for one, p in zip(found, adjusted.tolist(), strict=True)
        ),
        confidence=confidence,
        n_only_a=len(a.per_user) - len(pairs),
        n_only_b=len(b.per_user) - len(pairs),
    )


def _describe(
    name: str,
    values_a: npt.NDArray[np.float64],
    values_b: npt.NDArray[np.float64],
    interval: Interval,
    p_value: float,
    higher_is_better: bool,
) -> Difference:
    """A difference before correction, with the better of the two as its verdict whatever the p-value."""
    difference = values_a - values_b
    gain = difference if higher_is_better else -difference
    return Difference(
        metric=name,
        a=float(values_a.mean()),
        b=float(values_b.mean()),
        difference=float(difference.mean()),
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        p_adjusted=p_value,
        wins=int(np.count_nonzero(gain > 0)),
        ties=int(np.count_nonzero(gain == 0)),
        losses=int(np.count_nonzero(gain < 0)),
        n_users=len(difference),
        verdict="a" if gain.mean() > 0 else "b",
    )


def holm(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Holm's adjusted p-values: for the r-th smallest of m, the running maximum of ``(m - r + 1) p``, at most 1.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _common_metrics(a: Evaluation, b: Evaluation, metric: str | Iterable[str] | None) -> list[str]:
    common = [name for name in a.per_user.columns[1:] if name in b.per_user.columns]
    asked = common if metric is None else [metric] if isinstance(metric, str) else list(dict.fromkeys(metric))
    missing = [name for name in asked if name not in common]
    if missing or not asked:
        raise ConfigError(
            f"metric: expected metrics with a value for each user that both evaluations have "
            f"({', '.join(common) or 'there is none'}), got {', '.join(map(repr, missing)) or 'none'}"
        )
    return asked


def _common_users(a: Evaluation, b: Evaluation, names: list[str]) -> pl.DataFrame:
    """The users of both with the named columns of each; b's are suffixed ``:b``."""
    type_a, type_b = a.per_user["user_id"].dtype, b.per_user["user_id"].dtype
    if type_a != type_b:
        raise DTypeError(f"b: expected user ids of the type that a has ({type_a}), got {type_b}; use one split")
    columns = ["user_id", *names]
    pairs = a.per_user.select(columns).join(
        b.per_user.select(columns), on="user_id", how="inner", suffix=":b", maintain_order="left"
    )
    if pairs.is_empty():
        raise DataError("b: expected users in common with a, got none; evaluate both models on one split")
    return pairs
