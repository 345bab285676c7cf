"""Checks of taking in new interactions."""

from __future__ import annotations

import numpy as np

from recsys_core.errors import DataError
from recsys_core.models import FittedModel, Recommender
from recsys_core.testing.data import block_interactions
from recsys_core.testing.outcome import NotApplicable, expect
from recsys_core.testing.rankings import expect_same
from recsys_core.testing.subject import Subject, questions

__all__ = ["check_partial_fit"]


def check_partial_fit(subject: Subject) -> None:
    """New interactions add users and items behind the old ones, can be recommended, and leave the old model alone."""
    able = subject.factory.update_form is not Recommender.update_form
    if subject.entry:
        says = "partial-fit" in subject.entry.spec.capabilities
        expect(says == able, f"capabilities: expected partial-fit {'in' if able else 'not in'} the spec of the model")
    whole = block_interactions(events_a_user=12.0)
    known = (whole.user_index < 40) & (whole.item_index < 30)
    model, later = subject.fit(whole.select(known)), whole.select(~known)
    before, asked = model.fitted, questions(model)
    answers = {what: before.recommend_indices(**how, k=5) for what, how in asked.items()}
    try:
        returned = model.partial_fit(later)
    except DataError:
        if able:
            raise
        raise NotApplicable("it cannot take new interactions") from None
    expect(returned is model, f"partial_fit: expected the model itself, got {type(returned).__name__}")
    for what, how in asked.items():
        expect_same(before.recommend_indices(**how, k=5), answers[what], f"partial_fit: {what}: the old model changed")
    for what in ("users", "items"):
        old, new, every = (getattr(holder, what) for holder in (before, model, whole))
        expect(new.ids.head(len(old)).equals(old.ids), f"partial_fit: expected known {what} to keep their place")
        expect(set(new) == set(every), f"partial_fit: expected all {what} of old and new interactions")
    _expect_new_in_answers(model, before)
    again = subject.make().adopt(before).partial_fit(later)
    for what, how in questions(model).items():
        got, expected = again.recommend_indices(**how, k=5), model.recommend_indices(**how, k=5)
        expect_same(got, expected, f"partial_fit: {what}: the same interactions give other answers")


def _expect_new_in_answers(model: Recommender, before: FittedModel) -> None:
    """New users get what they have not had, and new items are given to somebody before most others."""
    n_users, n_items = len(model.users), len(model.items)
    new_users = np.arange(len(before.users), n_users)
    ranking = model.recommend_indices(new_users, k=5)
    expect(bool((ranking.indices >= 0).all()), "partial_fit: expected 5 items for each new user")
    had = model.histories.rows(new_users).to_csr(n_items, "binary").toarray() > 0
    repeated = np.take_along_axis(had, ranking.indices, axis=1)
    expect(not repeated.any(), "partial_fit: expected what a new user has had to be left out")
    first = model.recommend_indices(np.arange(n_users), k=n_items // 2, filter_seen=False).indices
    expect(
        bool((first >= len(before.items)).any()),
        "partial_fit: expected a new item in the better half of somebody's list",
    )
