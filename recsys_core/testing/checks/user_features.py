"""Check of models that read features of those who ask."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from recsys_core.errors import DataError
from recsys_core.models import Recommender
from recsys_core.testing.checks.deployment import expect_served_alike, load_saved
from recsys_core.testing.data import described_users
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.rankings import expect_same, take
from recsys_core.testing.subject import Subject
from recsys_core.types import FloatArray

__all__ = ["check_user_features"]

PEOPLE: list[dict[str, Any]] = [{"town": "town 0", "age": 20.0}, {"town": "town 3"}, {"age": 61.5}, {"town": None}]
"""Of whom more and less is known; of the last one, nothing."""


def check_user_features(subject: Subject) -> None:
    """A model that reads features of those who ask answers by them, alike in memory, by the core and by onnxruntime."""
    model = subject.fit(described_users())
    if model.form.user_preparation is None:
        raise NotApplicable("it reads no features of those who ask")
    items = model.items.ids.to_list()
    histories = [items[:3], [], items[5:6], []]
    requests: list[dict[str, Any]] = [
        {"user_features": PEOPLE},
        {"user_features": PEOPLE, "histories": histories},
        {"user_features": PEOPLE[0], "histories": [items[2:4]]},
    ]
    backends: tuple[Literal["core", "onnx"], ...] = ("core", "onnx")
    for backend in backends:
        served = load_saved(model, backend)
        for request in requests:
            expect_served_alike(served, model, request, f"{backend} asked by {', '.join(request)}")
    _expect_rows_apart(model)
    _expect_missing_is_not_told(model)
    try:
        model.recommend(user_features={"no such feature": 1})
    except DataError:
        return
    raise CheckFailedError("user_features: expected a DataError for a column that training did not have, got an answer")


def _expect_rows_apart(model: Recommender) -> None:
    """Features count, and an answer does not depend on who else is asked for."""
    together = model.recommend_indices(user_features=PEOPLE, k=10)
    for row, person in enumerate(PEOPLE):
        alone = model.recommend_indices(user_features=person, k=10)
        expect_same(alone, take(together, [row]), f"user_features: asker {row} asked for alone")
    items = model.items.ids.to_list()
    for history in ([], items[:3]):
        one, other = (_all_scores(model, person, history) for person in PEOPLE[:2])
        # Without a history, a second stage has nothing to choose from where its retriever says nothing.
        silent = not history and np.isnan(one).all() and np.isnan(other).all()
        expect(
            silent or not np.array_equal(one, other, equal_nan=True),
            f"user_features: {PEOPLE[0]} and {PEOPLE[1]} get the same scores after {len(history)} items, so that "
            "features are read for nothing",
        )


def _all_scores(model: Recommender, person: dict[str, Any], history: list[Any]) -> FloatArray:
    asked = model.score(histories=[history], user_features=[person], item_ids=model.items.ids)
    return asked["score"].to_numpy()


def _expect_missing_is_not_told(model: Recommender) -> None:
    told = model.histories.rows(np.arange(9))
    expect_same(
        model.recommend_indices(histories=told, user_features=[{}] * len(told), k=10),
        model.recommend_indices(histories=told, k=10),
        "user_features: those without a single known feature",
    )
