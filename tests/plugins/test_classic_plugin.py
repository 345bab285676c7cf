"""What holds for every model of the plugin: its registration, and data of odd shapes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from recsys_classic import plugin
from recsys_core import Interactions, create
from recsys_core.data import Histories
from recsys_core.errors import UnknownIdError
from recsys_core.metrics import standard_metrics
from recsys_core.registry import default_registry, resolve
from recsys_core.testing import parametrize_with_checks

# Some of the data here are few beside slim's default penalty.
pytestmark = pytest.mark.filterwarnings("ignore:slim. all weights are zero")

MODELS = [spec.name for spec in plugin.recsys_recommenders()]
BY_STEPS = ("bpr", "warp", "logistic_mf")
SMALL = {"als": {"n_factors": 4}, "explicit_mf": {"n_factors": 3}}
SMALL |= {name: {"n_factors": 4, "n_epochs": 10} for name in BY_STEPS}


def make(name: str):
    return create(name, **SMALL.get(name, {}))


@parametrize_with_checks([f"recsys-core:{name}" for name in MODELS])
def test_conformance(check) -> None:
    check()


def test_listing_imports_no_model() -> None:
    script = (
        "import sys; from recsys_core.registry import list_models; list_models(); "
        "print([name for name in sys.modules if name.startswith('recsys_classic.') or name in ('scipy', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['recsys_classic.plugin']"


@pytest.mark.parametrize(
    "spec", [*plugin.recsys_recommenders(), *plugin.recsys_rerankers()], ids=lambda spec: spec.name
)
def test_specs_name_what_exists(spec) -> None:
    factory, config = resolve(spec.factory), resolve(spec.config)
    assert factory.config_class is config
    assert spec.summary
    for name, field in config.model_fields.items():
        assert field.description, f"{spec.name}.{name} has no description"


@pytest.mark.parametrize("spec", plugin.recsys_metrics(), ids=lambda spec: spec.name)
def test_metrics_are_registered_by_their_own_names(spec) -> None:
    metric = default_registry().create(spec.name, kind="metric")
    assert metric.name == spec.name
    assert spec.name in standard_metrics()


def test_every_standard_metric_is_registered() -> None:
    # The others are these with another setting.
    variants = {"ndcg_exponential", "ndcg_linear", "recall_capped"}
    assert {spec.name for spec in plugin.recsys_metrics()} == set(standard_metrics()) - variants


@pytest.mark.parametrize("name", MODELS)
def test_capabilities_say_what_a_model_can_be_asked(name, ratings) -> None:
    (spec,) = [spec for spec in plugin.recsys_recommenders() if spec.name == name]
    assert make(name).fit(ratings).form.accepts_histories == ("histories" in spec.capabilities)


@pytest.mark.filterwarnings("ignore:als. all item factors are next to zero:UserWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("users", "items"), [(["ann"], ["tea"]), (["ann", "ann"], ["tea", "rum"]), (["ann", "bob"], ["tea", "tea"])]
)
def test_one_user_or_one_item(name, users, items) -> None:
    model = make(name).fit(Interactions.from_arrays(users, items))
    ranking = model.recommend_indices(np.arange(len(set(users))), k=3, filter_seen=False)
    n_items = len(set(items))
    assert sorted(ranking.indices[0, :n_items]) == list(range(n_items))
    assert np.isfinite(ranking.scores[:, :n_items]).all()
    assert (ranking.indices[:, n_items:] == -1).all()
    assert not len(model.recommend("ann"))


SAY_SOMETHING_OF_EVERYBODY = {"popularity", "explicit_mf"}
WITH_HISTORIES = [name for name in MODELS if name not in BY_STEPS]


@pytest.mark.parametrize("name", WITH_HISTORIES)
def test_an_empty_history_gets_what_the_model_says_of_everybody(name, ratings) -> None:
    model = make(name).fit(ratings)
    indices, scores = model.recommend_indices(histories=Histories.from_lists([[], [3]]), k=5)
    found = np.array([name in SAY_SOMETHING_OF_EVERYBODY, True])
    assert ((indices >= 0) == found[:, None]).all(), "five items, or none where all scores would be 0"
    assert (np.isfinite(scores) == found[:, None]).all()


@pytest.mark.parametrize("name", WITH_HISTORIES)
def test_unknown_items_of_a_history(name, ratings) -> None:
    model = make(name).fit(ratings)
    with pytest.raises(UnknownIdError, match="999"):
        model.recommend(histories=[[3, 999]])
    with_stranger = model.recommend(histories=[[3, 999]], on_unknown="ignore")
    assert with_stranger.equals(model.recommend(histories=[[3]]))


@pytest.mark.parametrize("name", MODELS)
def test_progress_rises_to_its_total(name, ratings) -> None:
    seen = []
    make(name).fit(ratings, progress=lambda done, total: seen.append((done, total)))
    done = [one for one, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1
