"""What every metric promises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.errors import ConfigError
from recsys_core.metrics import (
    Catalog,
    ListMetric,
    Metric,
    Population,
    PopulationMetric,
    RankedBatch,
    RatingMetric,
    Relevance,
)
from recsys_core.testing.checks.plugin import check_inert_plugin
from recsys_core.testing.data import block_interactions
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.subject import Registered

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR

__all__ = ["METRIC_CHECKS", "MetricSubject"]

CUT_OFFS = (1, 3, 10)


class MetricSubject(Registered):
    """A metric under test; ``factory(k=...)`` makes it."""

    kind = "metric"

    def make(self, k: int | None) -> Any:
        """The metric with a cut-off."""
        return self.create(**{**self.settings, "k": k})

    @property
    def cut_offs(self) -> tuple[int | None, ...]:
        """The cut-offs to try: none but None for a metric of ratings, which has none."""
        return (None,) if isinstance(self.make(None), RatingMetric) else CUT_OFFS

    @property
    def batch(self) -> RankedBatch:
        """Lists of 12 users at 10 places: full, short and empty ones, of users with many, one and no relevant items.

        One user's relevant item is unknown to the model; all have had something before.  Drawn anew each time, since a
        metric may write into it.
        """
        train = block_interactions()
        rng = np.random.default_rng(3)
        indices = np.stack([rng.permutation(train.n_items)[:10] for _ in range(12)]).astype(np.int64)
        for row, length in ((1, 9), (2, 4), (3, 1), (4, 0), (5, 0)):
            indices[row, length:] = -1
        relevant = [rng.permutation(train.n_items)[: row % 5].tolist() for row in range(12)]
        relevant[6] = indices[6].tolist()  # nothing but hits
        relevant[7] = [train.n_items]  # an item that no list can hold
        weights = [rng.integers(1, 6, len(row)).astype(float).tolist() for row in relevant]
        catalog = Catalog(train.items, train)
        had = partial(catalog.had_by, train.users.ids[:12])
        return RankedBatch.match(indices, Relevance.from_lists(relevant, weights), catalog, had)

    def list_values(self) -> Iterator[tuple[ListMetric, RankedBatch, npt.NDArray[np.float64]]]:
        """A list metric and its values at each cut-off."""
        if not isinstance(self.make(None), ListMetric):
            raise NotApplicable("it has one value for all lists, or pairs, together")
        for k in CUT_OFFS:
            metric = self.make(k)
            batch = self.batch.at(k)
            yield metric, batch, metric.per_user(batch)


def check_metric_contract(subject: MetricSubject) -> None:
    """With and without a cut-off it is a metric of its registered name, and a cut-off below 1 is refused."""
    for k in dict.fromkeys((None, *subject.cut_offs)):
        metric = subject.make(k)
        expect(
            isinstance(metric, ListMetric | PopulationMetric | RatingMetric),
            f"factory: expected a ListMetric, PopulationMetric or RatingMetric, got {type(metric).__name__}",
        )
        expect(metric.k == k, f"k: expected {k}, as it was made, got {metric.k!r}")
        expect(isinstance(metric.name, str) and metric.name, f"name: expected a name, got {metric.name!r}")
        if subject.entry:
            registered = subject.entry.spec.name
            expect(metric.name == registered, f"name: expected {registered!r}, as registered, got {metric.name!r}")
        higher = metric.higher_is_better
        expect(isinstance(higher, bool), f"higher_is_better: expected True or False, got {higher!r}")
    try:
        subject.make(0)
    except ConfigError:
        return
    raise CheckFailedError("k: expected a ConfigError for 0, got a metric")


def check_values(subject: MetricSubject) -> None:
    """There is a finite value, or NaN, for each list, also for short and empty ones; or one value for all lists."""
    batch = subject.batch
    for k in subject.cut_offs:
        metric = subject.make(k)
        if isinstance(metric, RatingMetric):
            for n_pairs in (1, len(batch.relevant.weights)):
                value = _rating_value(metric, batch, n_pairs)
                expect(not np.isinf(value), f"value: expected a finite number or NaN, got {value}")
        elif isinstance(metric, ListMetric):
            assert k is not None
            values = np.asarray(metric.per_user(batch.at(k)))
            expect(values.shape == (batch.n_users,), f"per_user: expected shape ({batch.n_users},), got {values.shape}")
            expect(values.dtype.kind in "fiub", f"per_user: expected numbers, got {values.dtype}")
            infinite = np.flatnonzero(np.isinf(values.astype(np.float64)))
            expect(not len(infinite), f"per_user: expected no infinite value, got one for the list in row {infinite}")
        else:
            assert k is not None
            shown = batch.at(k).indices
            exposure = np.bincount(shown[shown >= 0], minlength=batch.catalog.n_items)
            for counts, n_users in ((exposure, batch.n_users), (np.zeros_like(exposure), 1)):
                value = float(metric.value(Population(k, counts, n_users, batch.catalog)))
                expect(not np.isinf(value), f"value: expected a finite number or NaN, got {value}")


def check_lists_are_independent(subject: MetricSubject) -> None:
    """A list's value does not depend on the other lists of the batch."""
    for metric, batch, together in subject.list_values():
        for row in range(batch.n_users):
            relevant, had = batch.relevant.take(np.array([row])), partial(_row_of, batch.had, row)
            alone = RankedBatch.match(batch.indices[row : row + 1], relevant, batch.catalog, had)
            _expect_equal(metric.per_user(alone), together[row : row + 1], f"per_user: list {row} asked for alone")


def check_repeatable(subject: MetricSubject) -> None:
    """The same lists have the same value again, and are left as they were."""
    batch = subject.batch
    arrays: dict[str, npt.NDArray[Any]] = {
        "indices": batch.indices,
        "matches": batch.matches,
        "relevant.weights": batch.relevant.weights,
        "relevant.indices": batch.relevant.indices,
        "catalog.popularity": batch.catalog.popularity,
    }
    before = {name: array.copy() for name, array in arrays.items()}
    for k in subject.cut_offs:
        first, second = (_value(subject.make(k), batch, k) for _ in range(2))
        _expect_equal(second, first, "asked twice")
    changed = [name for name, array in arrays.items() if not np.array_equal(array, before[name])]
    expect(not changed, f"it changed {', '.join(changed)} of what it was given; copy before writing")


def _rating_value(metric: RatingMetric, batch: RankedBatch, n_pairs: int | None = None) -> float:
    """The value of predictions that are off by up to 1, of some of the relevant pairs."""
    actual = batch.relevant.weights[:n_pairs]
    return float(metric.value(actual + np.sin(np.arange(len(actual), dtype=np.float32)), actual))


def _value(metric: Metric, batch: RankedBatch, k: int | None) -> Any:
    if isinstance(metric, RatingMetric):
        return _rating_value(metric, batch)
    assert k is not None
    if isinstance(metric, ListMetric):
        return metric.per_user(batch.at(k))
    assert isinstance(metric, PopulationMetric)
    shown = batch.at(k).indices
    exposure = np.bincount(shown[shown >= 0], minlength=batch.catalog.n_items)
    return metric.value(Population(k, exposure, batch.n_users, batch.catalog))


def _row_of(matrix: CSR, row: int) -> CSR:
    return matrix[row : row + 1]


def _expect_equal(got: Any, expected: Any, what: str) -> None:
    same = np.allclose(got, expected, rtol=1e-6, atol=1e-9, equal_nan=True)
    expect(same, f"{what}: expected {expected}, got {got}")


METRIC_CHECKS = (
    check_inert_plugin,
    check_metric_contract,
    check_values,
    check_lists_are_independent,
    check_repeatable,
)
"""All checks of a metric, in the order in which they run."""
