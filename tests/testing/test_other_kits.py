"""The kits of metrics, re-rankers and data sets pass what is healthy, and each check catches its fault."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from recsys_core import Interactions
from recsys_core.errors import DataError, DTypeError, PluginError, UnknownModelError
from recsys_core.metrics import Coverage, ListMetric, PopulationMetric
from recsys_core.models import Reranker
from recsys_core.registry import DatasetSpec, Entry, default_registry
from recsys_core.testing import check_conformance, find_kit, parametrize_with_checks
from recsys_core.testing.checks.datasets import DATASET_CHECKS
from recsys_core.testing.checks.metrics import METRIC_CHECKS
from recsys_core.testing.checks.rerankers import RERANKER_CHECKS
from recsys_core.types import Ranking


class FirstHit(ListMetric):
    """Whether the first place is a hit: keeps every promise."""

    name = "first_hit"

    def per_user(self, batch):
        return batch.hits[:, 0].astype(float)


class Uncut(FirstHit):
    def __init__(self, k=None):
        super().__init__(k=5)


class Infinite(FirstHit):
    def per_user(self, batch):
        with np.errstate(divide="ignore"):
            return 1.0 / batch.valid.sum(axis=1)


class Total(FirstHit):
    def per_user(self, batch):
        return batch.hits.sum()


class Centred(FirstHit):
    def per_user(self, batch):
        values = batch.hits.mean(axis=1)
        return values - values.mean()


class Sorts(FirstHit):
    def per_user(self, batch):
        batch.relevant.weights.sort()
        return super().per_user(batch)


class InfiniteShare(PopulationMetric):
    name = "infinite_share"

    def value(self, population):
        return float(np.divide(1.0, (population.exposure > 0).sum())) if population.exposure.any() else float("inf")


class Reversed(Reranker):
    """The last k, last first: keeps every promise."""

    def rerank(self, pool, k, model, histories):
        n_found = (pool.indices >= 0).sum(axis=1, keepdims=True)
        places = np.arange(k) * np.ones_like(n_found)
        places = np.where(places < n_found, n_found - 1 - places, places)
        return Ranking(*(np.take_along_axis(array, places, axis=1) for array in pool))


class NewScores(Reversed):
    def rerank(self, pool, k, model, histories):
        chosen = super().rerank(pool, k, model, histories)
        return Ranking(chosen.indices, -chosen.scores)


class Repeats(Reversed):
    def rerank(self, pool, k, model, histories):
        return Ranking(*(np.repeat(array[:, :1], k, axis=1) for array in pool))


class OwnItems(Reversed):
    def rerank(self, pool, k, model, histories):
        chosen = super().rerank(pool, k, model, histories)
        return Ranking(np.where(chosen.indices >= 0, np.arange(k), -1), chosen.scores)


class Wide(Reversed):
    def rerank(self, pool, k, model, histories):
        return pool


class FollowsTheFirst(Reversed):
    """Turns all rows around if the first row's best score is low."""

    def rerank(self, pool, k, model, histories):
        best = pool.scores[0, 0]
        turn = best < np.median(pool.scores[:, 0])
        return super().rerank(pool, k, model, histories) if turn else Ranking(*(array[:, :k] for array in pool))


class Draws(Reversed):
    draw = np.random.default_rng()

    def rerank(self, pool, k, model, histories):
        return (
            super().rerank(pool, k, model, histories)
            if self.draw.random() < 0.5
            else Ranking(*(a[:, :k] for a in pool))
        )


class Forgets(Reversed):
    def rerank(self, pool, k, model, histories):
        chosen = super().rerank(pool, k, model, histories)
        pool.indices[:] = -1
        return chosen


class Lenient(Reversed):
    def __init__(self, **settings):
        super().__init__()


def sales():
    return Interactions.from_arrays(["ann", "bob"], ["tea", "rum"])


def no_events():
    return sales().to_csr()


def other_sales():
    return Interactions.from_arrays(["ann", "bob"], np.random.default_rng().integers(0, 1 << 40, 2))


def unreachable():
    raise DataError("sales: no network")


CASES = [
    ("metric", "metric_contract", Uncut),
    ("metric", "metric_contract", dict),
    ("metric", "values", Infinite),
    ("metric", "values", Total),
    ("metric", "values", InfiniteShare),
    ("metric", "lists_are_independent", Centred),
    ("metric", "repeatable", Sorts),
    ("reranker", "reranker_contract", Lenient),
    ("reranker", "reranker_contract", dict),
    ("reranker", "choice", NewScores),
    ("reranker", "choice", Repeats),
    ("reranker", "choice", OwnItems),
    ("reranker", "choice", Wide),
    ("reranker", "rows_are_independent", FollowsTheFirst),
    ("reranker", "repeatable", Draws),
    ("reranker", "repeatable", Forgets),
    ("dataset", "loads", no_events),
    ("dataset", "loads_alike", other_sales),
]


@pytest.mark.parametrize(("kind", "name", "factory"), CASES, ids=[f"{name}-{made.__name__}" for _, name, made in CASES])
def test_what_is_broken_fails_its_check(kind, name, factory):
    report = check_conformance(factory, kind=kind)
    failed = {result.name: result.message for result in report.failed}
    assert failed.get(name), str(report)


@pytest.mark.parametrize(("kind", "factory"), [("metric", FirstHit), ("reranker", Reversed), ("dataset", sales)])
def test_what_is_healthy_passes(kind, factory):
    report = check_conformance(factory, kind=kind)
    assert report.passed, str(report)
    assert (report.kind, report.name) == (kind, factory.__name__)


def test_every_check_has_a_case():
    checks = {*METRIC_CHECKS, *RERANKER_CHECKS, *DATASET_CHECKS}
    names = {check.__name__.removeprefix("check_") for check in checks}
    assert {name for _, name, _ in CASES} == names - {"inert_plugin", "says_what_it_has"}


def test_a_data_set_must_have_what_its_spec_says(monkeypatch):
    spec = DatasetSpec("sales", "shop.data:load", capabilities={"times", "item-features"})
    monkeypatch.setattr("recsys_core.testing.subject.resolve", lambda target: sales)
    monkeypatch.setattr(Entry, "create", lambda self, **settings: sales())
    report = check_conformance(Entry(spec, "shop", "1.0", "shop.plugin"))
    (missing,) = [result for result in report.failed if result.name == "says_what_it_has"]
    assert missing.message.endswith("got no times, item-features")


def test_a_data_set_that_cannot_be_had_is_not_at_fault():
    report = check_conformance(unreachable, kind="dataset")
    assert not report.failed
    assert not report.passed
    assert {result.message for result in report.not_applicable[1:3]} == {"it cannot be had here: sales: no network"}


@parametrize_with_checks(kind="metric")
def test_every_registered_metric_keeps_its_promises(check):
    check()


@parametrize_with_checks(kind="reranker")
def test_every_registered_reranker_keeps_its_promises(check):
    check()


def test_parameters_are_all_that_is_registered():
    ids = {parameter.id for parameter in parametrize_with_checks(kind="metric").mark.args[1]}
    for entry in default_registry().entries("metric"):
        assert f"{entry.qualified_name}-values" in ids


def test_what_cannot_be_checked_is_refused(monkeypatch):
    with pytest.raises(UnknownModelError, match="kit 'shelf': no plugin registers it; known: encoder"):
        check_conformance("als", kind="shelf")
    with pytest.raises(UnknownModelError, match="metric 'ncdg': no plugin registers it; did you mean 'ndcg'"):
        check_conformance("ncdg", kind="metric")
    with pytest.raises(DTypeError, match="metric: expected a registered name, an Entry or what makes it, got Coverage"):
        check_conformance(Coverage(k=3), kind="metric")
    monkeypatch.setattr(type(default_registry()), "create", lambda *arguments, **settings: pl)
    with pytest.raises(PluginError, match=r"expected the plugin to make a recsys_core\.testing\.Kit"):
        find_kit("encoder")
    assert dataclasses.is_dataclass(find_kit("metric"))
