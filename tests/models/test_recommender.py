"""The class that a plugin author subclasses, and its settings."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from recsys_core import Config, Interactions, Recommender, StaticForm
from recsys_core.errors import ConfigError, DTypeError, NotFittedError, PluginError, ShapeError
from recsys_core.models import Provenance, Reranker, build_config
from recsys_core.types import Ranking


class ShelfConfig(Config):
    n_shelves: int = Field(3, ge=1, description="Shelves.")
    names: tuple[str, ...] = Field(default_factory=tuple, description="Their names.")
    ratio: float = 0.5
    """Documented by the line below."""


class Shelf(Recommender):
    config_class = ShelfConfig
    config: ShelfConfig

    def fit_form(self, interactions, progress):
        progress(1, 1)
        return StaticForm(np.full(interactions.n_items, self.config.ratio, np.float32))


@pytest.fixture
def sales() -> Interactions:
    features = pl.DataFrame({"item_id": ["rum", "tea"], "title": ["Rum", "Tea"]})
    return Interactions.from_arrays(["ann", "bob", "bob"], ["tea", "tea", "rum"]).with_features(features)


def test_fit_makes_a_fitted_model(sales):
    model = Shelf().fit(sales)
    assert model.fitted is model.fitted_
    assert (model.users, model.items) == (sales.users, sales.items)
    assert model.form is model.fitted.form
    assert model.histories is sales.histories()
    assert model.fitted.item_features.equals(sales.item_features)
    assert model.recommend("ann").rows() == [("ann", "rum", 0.5, 1)]
    assert model.recommend_indices([0], k=1).indices.tolist() == [[0]]


def test_a_warning_points_at_the_line_that_asked(sales):
    model = Shelf().fit(sales)
    for asked in (model, model.fitted):
        with pytest.warns(UserWarning, match="unknown user") as caught:
            asked.recommend(["zoe", "ann"], on_unknown="warn")
        assert caught[0].filename == __file__


def test_fit_reports_progress_only_to_those_who_ask(sales):
    calls = []
    Shelf().fit(sales, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 1)]


def test_a_model_made_directly_is_known_by_its_class(sales):
    assert Shelf(ratio=2).fit(sales).fitted.provenance == Provenance(
        "Shelf", __name__, "", {"n_shelves": 3, "names": [], "ratio": 2.0}
    )


@pytest.mark.parametrize("name", ["fitted", "form", "users", "items", "histories"])
def test_attributes_before_fit(name):
    with pytest.raises(NotFittedError) as caught:
        getattr(Shelf(), name)
    assert str(caught.value) == "Shelf is not fitted; call fit(interactions) first."


@pytest.mark.parametrize("ask", ["recommend", "recommend_indices", "similar_items"])
def test_questions_before_fit(ask):
    with pytest.raises(NotFittedError, match="Shelf is not fitted"):
        getattr(Shelf(), ask)(["ann"])


def test_a_failed_fit_leaves_the_model_as_it_was(sales):
    class Stops(Exception):  # noqa: N818
        pass

    def stop(done, total):
        raise Stops

    model = Shelf().fit(sales)
    before = model.fitted
    with pytest.raises(Stops):
        model.fit(sales, progress=stop)
    assert model.fitted is before


@pytest.mark.parametrize("data", [pl.DataFrame({"user_id": [1], "item_id": [2]}), [[1, 2]], None])
def test_fit_takes_interactions(data):
    with pytest.raises(DTypeError) as caught:
        Shelf().fit(data)
    assert str(caught.value) == (
        f"interactions: expected Interactions, got {type(data).__name__}; make them with Interactions.from_frame, "
        "from_csr or read."
    )


def test_fit_form_must_return_a_form(sales):
    class Forgets(Recommender):
        def fit_form(self, interactions, progress):
            pass

    with pytest.raises(PluginError) as caught:
        Forgets().fit(sales)
    assert (
        str(caught.value) == "Forgets.fit_form: expected a DotForm, ItemItemForm, PairForm or StaticForm, got NoneType."
    )


def test_a_form_of_another_size_is_refused(sales):
    class Short(Recommender):
        def fit_form(self, interactions, progress):
            return StaticForm(np.ones(1, np.float32))

    with pytest.raises(ShapeError, match="form: expected scores for the 2 items of the id map, got 1"):
        Short().fit(sales)


def test_a_recommender_without_fit_form_cannot_be_made():
    class Unfinished(Recommender):
        pass

    with pytest.raises(TypeError, match="fit_form"):
        Unfinished()


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "Shelf()"),
        ({"n_shelves": 3}, "Shelf()"),
        ({"n_shelves": 4, "names": ("a",)}, "Shelf(n_shelves=4, names=('a',))"),
    ],
)
def test_repr_shows_what_was_changed(settings, shown):
    assert repr(Shelf(**settings)) == shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n_shelf": 1},
            "Shelf has no setting 'n_shelf'; expected one of n_shelves, names, ratio; did you mean 'n_shelves'?",
        ),
        ({"zzz": 1}, "Shelf has no setting 'zzz'; expected one of n_shelves, names, ratio; remove it."),
        (
            {"n_shelves": 0},
            "Shelf.n_shelves: input should be greater than or equal to 1; got 0; the default is 3",
        ),
        (
            {"n_shelves": "many"},
            (
                "Shelf.n_shelves: input should be a valid integer, unable to parse string as an integer; "
                "got 'many'; the default is 3"
            ),
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError) as caught:
        Shelf(**settings)
    assert str(caught.value) == message


def test_all_faults_of_the_settings_are_told_at_once():
    with pytest.raises(ConfigError, match=r"Shelf\.n_shelves: .*; Shelf\.ratio: .*; Shelf has no setting 'x'"):
        Shelf(n_shelves=0, ratio="half", x=1)


def test_strings_are_read_as_numbers():
    assert build_config(ShelfConfig, {"n_shelves": "7", "ratio": "0.25"}) == ShelfConfig(n_shelves=7, ratio=0.25)


def test_the_config_names_itself_where_no_model_is_given():
    with pytest.raises(ConfigError, match="ShelfConfig has no setting 'x'"):
        build_config(ShelfConfig, {"x": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_factors": 7}, "Halves.n_factors: expected an even number; got 7; the default is 2"),
        ({"n_factors": 6, "n_heads": 4}, "Halves: n_heads has to divide n_factors"),
    ],
)
def test_what_a_validator_raises_is_told_in_its_words(settings, message):
    class Halves(Config):
        n_factors: int = 2
        n_heads: int = 1

        @field_validator("n_factors")
        @classmethod
        def _even(cls, value):
            if value % 2:
                raise ValueError("expected an even number")
            return value

        @model_validator(mode="after")
        def _divides(self):
            if self.n_factors % self.n_heads:
                raise ValueError("n_heads has to divide n_factors")
            return self

    with pytest.raises(ConfigError) as caught:
        build_config(Halves, settings)
    assert str(caught.value) == message


def test_a_default_out_of_range_is_an_error_too():
    class Wrong(Config):
        k: int = Field(0, ge=1)

    with pytest.raises(ConfigError, match=r"Wrong\.k: input should be greater than or equal to 1; got 0"):
        build_config(Wrong, {})


def test_a_required_setting_is_asked_for():
    class Required(Config):
        path: str

    with pytest.raises(ConfigError, match=r"Required\.path: field required"):
        build_config(Required, {})


def test_a_config_is_frozen_and_survives_json():
    config = ShelfConfig(n_shelves=9, names=("x", "y"))
    with pytest.raises(ValidationError, match="frozen"):
        config.n_shelves = 1
    assert ShelfConfig.model_validate_json(config.model_dump_json()) == config
    assert ShelfConfig.model_fields["ratio"].description == "Documented by the line below."


def test_a_reranker_checks_its_settings():
    class Reverse(Reranker):
        config_class = ShelfConfig

        def rerank(self, pool, k, model, histories):
            return Ranking(pool.indices[:, ::-1][:, :k], pool.scores[:, ::-1][:, :k])

    assert Reverse(n_shelves=2).config.n_shelves == 2
    with pytest.raises(ConfigError, match="Reverse has no setting 'x'"):
        Reverse(x=1)
    with pytest.raises(TypeError, match="rerank"):
        Reranker()
