from __future__ import annotations

import pytest

from recsys_core.errors import ConfigError
from recsys_core.metrics import ListMetric, Metric, metric, split_name, standard_metrics

RATINGS = {"mae", "rmse"}


@pytest.mark.parametrize("name", standard_metrics())
def test_a_standard_metric_is_reported_under_its_name(name):
    assert metric(name).k is None
    assert metric(name) == metric(name)
    if name in RATINGS:
        assert metric(name).label(7) == name
        with pytest.raises(ConfigError, match=f"^k of the metric '{name}': expected none, since it measures no lists"):
            metric(name, 5)
        return
    assert metric(name).label(7) == f"{name}@7"
    assert metric(f"{name}@5").k == metric(name, 5).k == 5
    assert metric(name) != metric(name, 5)


def test_direction():
    lower_is_better = {name for name in standard_metrics() if not metric(name).higher_is_better}
    assert lower_is_better == {"gini", "mean_popularity", "miscalibration", "popularity_lift"} | RATINGS


def test_unknown_name_suggests_a_near_one():
    with pytest.raises(ConfigError, match=r"metric: unknown name 'ndgc'; did you mean 'ndcg'\? Known: coverage, "):
        metric("ndgc@10")


@pytest.mark.parametrize("name", ["ndcg@", "ndcg@0", "ndcg@-1", "ndcg@ten", "ndcg@1@2", "ndcg@²"])
def test_malformed_cut_off_is_refused(name):
    with pytest.raises(ConfigError, match="expected a cut-off like 'ndcg@10'"):
        split_name(name)


def test_two_cut_offs_are_refused():
    with pytest.raises(ConfigError, match="has a cut-off already, got 5 besides"):
        metric("ndcg@10", 5)


@pytest.mark.parametrize("k", [0, -3, 2.5, True])
def test_a_metric_refuses_a_cut_off_that_is_none(k):
    with pytest.raises(ConfigError, match="k of the metric 'recall': expected an integer of at least 1"):
        metric("recall", k)


def test_a_metric_without_a_name_or_a_method_cannot_be_made():
    class Nameless(ListMetric):
        def per_user(self, batch):
            return batch.hits[:, 0]

    class Idle(ListMetric):
        name = "idle"

    for incomplete in (Nameless, Idle, Metric):
        with pytest.raises(TypeError, match="abstract"):
            incomplete()
