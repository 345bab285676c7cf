"""Search ranges that a config's fields declare."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from recsys_core.errors import ConfigError
from recsys_core.models import Config, SearchChoices, SearchRange, search_space
from recsys_core.models.search import is_integer
from recsys_core.registry import default_registry

WITH_COSINE = {"kind": ("cosine",)}


class ShelfConfig(Config):
    shrink: Annotated[float, SearchRange(0, 10, when=WITH_COSINE)] = Field(0.0, ge=0, description="Doubt.")
    kind: Annotated[Literal["cosine", "bm25"], SearchChoices(("cosine", "bm25"))] = Field("cosine", description="How.")
    n_shelves: Annotated[int, SearchRange(1, 100, log=True)] = Field(3, ge=1, le=100, description="How many.")
    days: float | None = Field(None, gt=0, description="How long.")
    name: str = Field("shelf", description="Not searched.")


def test_a_setting_comes_after_those_that_give_it_an_effect() -> None:
    space = search_space(ShelfConfig)
    assert list(space) == ["kind", "n_shelves", "shrink"]
    assert space["n_shelves"] == SearchRange(1, 100, log=True)


def test_what_is_given_is_not_searched_nor_what_it_makes_idle() -> None:
    assert list(search_space(ShelfConfig, {"kind": "bm25"})) == ["n_shelves"]
    assert list(search_space(ShelfConfig, {"kind": "cosine", "n_shelves": 2})) == ["shrink"]


def test_a_default_that_is_not_searched_counts_as_given() -> None:
    class Idle(ShelfConfig):
        kind: Literal["cosine", "bm25"] = Field("bm25", description="How.")

    assert list(search_space(Idle)) == ["n_shelves"]


def test_a_caller_may_look_elsewhere_and_at_more() -> None:
    days = SearchChoices((None, 7.0))
    space = search_space(ShelfConfig, changed={"n_shelves": SearchRange(5, 6), "days": days})
    assert space["n_shelves"] == SearchRange(5, 6)
    assert space["days"] == days


@pytest.mark.parametrize(
    ("fixed", "changed", "message"),
    [
        ({"n_shelves": 2}, {"n_shelves": SearchRange(1, 2)}, "n_shelves is both fixed and searched"),
        ({}, {"n_shelfs": SearchRange(1, 2)}, "no setting 'n_shelfs'.*did you mean 'n_shelves'"),
        ({"n_shelfs": 1}, {}, "did you mean 'n_shelves'"),
        ({}, {"n_shelves": SearchRange(1, 101)}, "n_shelves: input should be less than or equal to 100"),
        ({}, {"name": SearchRange(1, 2)}, "expected a setting that is a number"),
        ({}, {"name": SearchChoices(("shelf", None))}, "no None among the choices"),
        ({}, {"n_shelves": SearchRange(1, 2, when={"knd": ("cosine",)})}, "settings of ShelfConfig in when, got knd"),
        ({}, {"kind": SearchChoices(("cosine", "bm25"), when={"shrink": (0.0,)})}, "wait for each other"),
    ],
)
def test_a_wrong_space_is_refused(fixed: dict, changed: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_space(ShelfConfig, fixed, changed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SearchRange(2, 1),
        lambda: SearchRange(0, float("inf")),
        lambda: SearchRange(0, 1, log=True),
        lambda: SearchChoices((1,)),
        lambda: SearchChoices((1, 1)),
    ],
)
def test_a_wrong_range_is_refused(make) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_whole_numbers_are_told_from_others() -> None:
    assert is_integer(ShelfConfig, "n_shelves")
    assert not is_integer(ShelfConfig, "shrink")
    assert not is_integer(ShelfConfig, "days")


def test_every_first_party_model_says_where_to_look() -> None:
    for entry in default_registry().entries():
        if entry.distribution == "recsys-core":
            config = entry.config_class()
            assert config is not None
            assert search_space(config), entry.spec.name
