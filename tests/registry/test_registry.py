"""From a name to a model, and helpful words when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import recsys_core
from recsys_core.errors import ConfigError, PluginError, UnknownModelError
from recsys_core.registry import Registry, create, default_registry, list_models
from recsys_core.registry.loader import installed_entry_points

MODELS = """
import numpy as np
from pydantic import Field
from recsys_core import Config, Recommender, StaticForm

class ShelfConfig(Config):
    n_shelves: int = Field(3, ge=1, description="Shelves.")

class Shelf(Recommender):
    config_class = ShelfConfig

    def fit_form(self, interactions, progress):
        return StaticForm(np.ones(interactions.n_items, np.float32))

class Unfinished(Recommender):
    pass

class Forgetful(Shelf):
    def __init__(self):
        self.n_shelves = 3

class NotAModel:
    pass

def load_small(n=2, kind="a"):
    return [kind] * n

NUMBER = 3
"""


@pytest.fixture
def shelves(site):
    site.module("shelf_models", MODELS)
    site.plugin(
        "shelves",
        """
        @hookimpl
        def recsys_recommenders():
            return [
                RecommenderSpec("shelf", "shelf_models:Shelf", "shelf_models:ShelfConfig"),
                RecommenderSpec("unfinished", "shelf_models:Unfinished"),
                RecommenderSpec("forgetful", "shelf_models:Forgetful"),
                RecommenderSpec("not-a-model", "shelf_models:NotAModel"),
                RecommenderSpec("gone", "shelf_models:Gone"),
            ]

        @hookimpl
        def recsys_datasets():
            return [DatasetSpec("small", "shelf_models:load_small"), DatasetSpec("number", "shelf_models:NUMBER")]
        """,
        version="1.5",
    )
    return site


def test_create_makes_an_unfitted_model_that_knows_where_it_is_from(shelves):
    model = Registry().create("shelf", n_shelves=5)
    assert repr(model) == "Shelf(n_shelves=5)"
    assert not hasattr(model, "fitted_")
    assert (model.provenance.name, model.provenance.distribution) == ("shelf", "shelves")
    assert (model.provenance.version, model.provenance.config) == ("1.5", {"n_shelves": 5})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "not-a-model",
            (
                "shelves:not-a-model: expected shelf_models:NotAModel to be a subclass of recsys_core.Recommender, "
                "got <class 'shelf_models.NotAModel'>."
            ),
        ),
        ("unfinished", "shelves:unfinished: shelf_models:Unfinished does not define fit_form."),
        (
            "forgetful",
            (
                "shelves:forgetful: shelf_models:Forgetful has an __init__ that does not call "
                "super().__init__(**settings); declare the settings as fields of a Config and leave __init__ out."
            ),
        ),
        (
            "gone",
            "shelf_models:Gone: cannot be imported (AttributeError: module 'shelf_models' has no attribute 'Gone').",
        ),
    ],
)
def test_a_factory_that_is_no_recommender_is_the_plugins_fault(shelves, name, message):
    with pytest.raises(PluginError) as caught:
        Registry().create(name)
    assert str(caught.value) == message


def test_settings_are_checked(shelves):
    registry = Registry()
    with pytest.raises(ConfigError, match=r"Shelf has no setting 'n_shelf'.*did you mean 'n_shelves'"):
        registry.create("shelf", n_shelf=1)
    with pytest.raises(ConfigError, match=r"Shelf\.n_shelves: .*greater than or equal to 1; got 0; the default is 3"):
        registry.create("shelf", n_shelves=0)


def test_other_kinds_are_called_with_the_settings(shelves):
    registry = Registry()
    assert registry.create("small", kind="dataset", n=3) == ["a", "a", "a"]
    with pytest.raises(ConfigError, match=r"dataset 'small': got an unexpected keyword argument 'm'; its signature is"):
        registry.create("small", kind="dataset", m=3)
    with pytest.raises(PluginError, match=r"shelves:number: expected shelf_models:NUMBER to be callable, got int\."):
        registry.create("number", kind="dataset")


def test_the_config_class_is_imported_when_asked_for(shelves):
    registry = Registry()
    assert "shelf_models" not in sys.modules
    assert registry.find("shelf").config_class().__name__ == "ShelfConfig"
    assert registry.find("gone").config_class() is None


def test_a_name_claimed_twice_names_both_and_the_long_name_resolves(site):
    site.recommenders("one", "RecommenderSpec('shared', 'm:One')", version="1.1")
    site.recommenders("two", "RecommenderSpec('shared', 'm:Two')", version="2.2")
    registry = Registry()
    with pytest.raises(PluginError) as caught:
        registry.find("shared")
    assert str(caught.value) == (
        "recommender 'shared': registered by both one 1.1 and two 2.2; ask for 'one:shared' or 'two:shared'."
    )
    assert registry.find("one:shared").spec.factory == "m:One"
    assert registry.find("two:shared").spec.factory == "m:Two"
    assert [entry.qualified_name for entry in registry.entries(pattern="shared")] == ["one:shared", "two:shared"]


def test_one_name_for_two_kinds_is_no_collision(site):
    source = "@hookimpl\ndef recsys_{0}s():\n    return [{1}('thing', 'm:C')]\n"
    site.plugin("both", source.format("metric", "MetricSpec") + source.format("dataset", "DatasetSpec"))
    registry = Registry()
    assert registry.find("thing", "metric").spec.kind == "metric"
    assert registry.find("thing", "dataset").spec.kind == "dataset"


def test_a_distribution_that_claims_a_name_twice_is_told_so(site):
    for module in ("part_one", "part_two"):
        site.module(
            module,
            "from recsys_core.registry import RecommenderSpec, hookimpl\n"
            "@hookimpl\ndef recsys_recommenders():\n    return [RecommenderSpec('same', 'm:C')]\n",
        )
    site.distribution("parts", {"a": "part_one", "b": "part_two"})
    for name in ("same", "parts:same"):
        with pytest.raises(PluginError) as caught:
            Registry().find(name)
        assert str(caught.value) == (
            f"recommender {name!r}: registered twice by parts, in part_one and part_two; its author has to rename one."
        )


def test_the_distribution_in_a_long_name_is_compared_as_indexes_do(site):
    site.recommenders("My_Models", "RecommenderSpec('mine', 'm:C')")
    assert Registry().find("my-models:mine").distribution == "My_Models"


@pytest.mark.parametrize("name", ["neares", "nearst", "somewhere:nearest"])
def test_near_names_are_suggested(site, name):
    site.recommenders("near", "RecommenderSpec('nearest', 'm:C')")
    with pytest.raises(UnknownModelError) as caught:
        Registry(_points("near")).find(name)
    assert str(caught.value) == f"recommender {name!r}: no plugin registers it; did you mean 'nearest'?"


def test_without_a_near_name_the_known_ones_are_listed(site):
    site.recommenders("near", "RecommenderSpec('bb', 'm:C')", "RecommenderSpec('aa', 'm:C')")
    registry = Registry(_points("near"))
    with pytest.raises(UnknownModelError) as caught:
        registry.find("xylophone")
    assert str(caught.value) == "recommender 'xylophone': no plugin registers it; known: aa, bb."
    with pytest.raises(UnknownModelError, match="no plugin registers it; known: none"):
        Registry([]).find("xylophone")


def test_an_unknown_name_mentions_what_failed_was_refused_or_is_disabled(site, monkeypatch):
    site.plugin("bad", "1 / 0")
    site.recommenders("future", "RecommenderSpec('wanted', 'm:C', api=7)")
    site.recommenders("off", "RecommenderSpec('other', 'm:C')")
    monkeypatch.setenv("RECSYS_PLUGINS", "-off")
    with pytest.raises(UnknownModelError) as caught:
        Registry().find("wanted")
    message = str(caught.value)
    assert "These plugins failed to load: bad (ZeroDivisionError: division by zero)." in message
    assert "Refused: wanted: written for plugin interface 7, this recsys-core accepts 1 to 1;" in message
    assert "RECSYS_PLUGINS disables these plugins: off." in message


def test_entries_are_filtered_by_a_pattern_and_sorted(site):
    site.recommenders("some", *(f"RecommenderSpec('{name}', 'm:C')" for name in ("zz-b", "zz-a", "yy")))
    assert [entry.spec.name for entry in Registry().entries(pattern="zz-*")] == ["zz-a", "zz-b"]
    assert Registry().entries("encoder", "zz-*") == []


def test_the_default_registry_is_made_once():
    assert default_registry() is default_registry()


def test_list_models_and_create_use_the_installed_plugins():
    assert list_models() == sorted(list_models())
    assert "als" in list_models("a*")
    assert list_models("no-such-*") == []
    assert type(create("popularity")).__name__ == "Popularity"
    assert recsys_core.create is create


def test_settings_may_be_called_name_or_kind(shelves):
    with pytest.raises(ConfigError, match="Shelf has no setting 'name'"):
        Registry().create("shelf", name="x")
    with pytest.raises(ConfigError, match="Popularity has no setting 'name'"):
        create("popularity", name="x")


_LOADED_BY = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def _loaded_by(statement: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", _LOADED_BY.format(statement=statement)], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout))


HEAVY = {"numpy", "scipy", "polars", "narwhals", "pandas", "pyarrow", "onnx", "onnxruntime", "pydantic", "torch"}


def test_importing_the_package_loads_nothing_heavy():
    assert not _loaded_by("import recsys_core; dir(recsys_core)") & HEAVY


def test_listing_the_models_loads_no_model():
    loaded = _loaded_by("from recsys_core.registry import list_models; assert 'als' in list_models()")
    assert not loaded & HEAVY
    assert {name for name in loaded if name.startswith("recsys_classic")} == {"recsys_classic", "recsys_classic.plugin"}
    assert "recsys_core.models" not in loaded


def _points(name: str) -> list[EntryPoint]:
    return [point for point in installed_entry_points() if point.name == name]
