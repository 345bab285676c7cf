"""Checks of making and fitting a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_core.data import Interactions
from recsys_core.errors import ConfigError, NotFittedError
from recsys_core.models import FittedModel, Recommender, search_space
from recsys_core.testing.checks.plugin import expect_settings, expect_strict
from recsys_core.testing.data import block_interactions
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.rankings import expect_same
from recsys_core.testing.subject import Subject, questions

__all__ = [
    "check_config_round_trip",
    "check_defaults",
    "check_empty_rows",
    "check_fit_is_repeatable",
    "check_fit_keeps_its_input",
    "check_fit_returns_self",
    "check_id_types",
    "check_not_fitted",
    "check_progress_can_stop",
    "check_progress_rises",
    "check_refit_forgets",
    "check_search_space",
    "check_single_event",
    "check_watching_changes_nothing",
]


def check_defaults(subject: Subject) -> None:
    """A model can be made without settings, each setting is described, and the plugin names the right config."""
    expect_settings(subject.make_with_defaults().config, subject.entry)


def check_config_round_trip(subject: Subject) -> None:
    """Settings written as JSON make the same model again, and an unknown setting is refused."""
    expect_strict(subject.make)


def check_search_space(subject: Subject) -> None:
    """Where a setting says its good values lie, the config allows every one."""
    config_class = subject.factory.config_class
    try:
        space = search_space(config_class, subject.settings)
    except ConfigError as fault:
        raise CheckFailedError(f"config: expected a search space within what is allowed; {fault}") from None
    if not space:
        raise NotApplicable("no setting says where to look for good values")


def check_not_fitted(subject: Subject) -> None:
    """A model that has not been fitted says so when it is asked."""
    model = subject.make()
    calls: dict[str, Callable[[], Any]] = {
        "recommend": lambda: model.recommend(users=[0]),
        "recommend_indices": lambda: model.recommend_indices(np.zeros(1, np.int64)),
        "form": lambda: model.form,
    }
    for name, call in calls.items():
        try:
            call()
        except NotFittedError:
            continue
        raise CheckFailedError(f"{name}: expected a NotFittedError before fit, got an answer")


def check_fit_returns_self(subject: Subject) -> None:
    """``fit`` returns the model itself, so that calls can be chained."""
    model = subject.make()
    returned = model.fit(block_interactions())
    expect(returned is model, f"fit: expected the model itself, got {type(returned).__name__}")


def check_fit_is_repeatable(subject: Subject) -> None:
    """Two models of the same settings, seed included, learn the same from the same data."""
    _expect_same_answers(subject.fit(), subject.fit(), "fit: two fits on the same data give other answers")


def check_refit_forgets(subject: Subject) -> None:
    """Fitting again leaves nothing of the first fit."""
    data = {"n_users": 30, "n_items": 24, "random_state": 7}
    fresh = _fit_repeatably(subject, block_interactions(**data))
    reused = subject.fit()
    reused.fit(block_interactions(**data))
    _expect_same_answers(reused, fresh, "fit: a second fit gives other answers than a new model")


def check_fit_keeps_its_input(subject: Subject) -> None:
    """``fit`` does not change the interactions it is given."""
    interactions = block_interactions()
    before = _snapshot(interactions)
    subject.fit(interactions)
    after = _snapshot(interactions)
    changed = [name for name, value in before.items() if not np.array_equal(value, after[name])]
    expect(not changed, f"fit: changed {', '.join(changed)} of the interactions; copy before writing")


def check_progress_rises(subject: Subject) -> None:
    """``progress(done, total)`` is called with integers, ``done`` never falls, and it ends within ``total``."""
    calls: list[tuple[int, int]] = []
    subject.make().fit(block_interactions(), progress=lambda done, total: calls.append((done, total)))
    if not calls:
        raise NotApplicable("it reports no progress")
    for done, total in calls:
        expect(
            type(done) is int and type(total) is int and 0 <= done <= total,
            f"progress: expected integers 0 <= done <= total, got ({done!r}, {total!r})",
        )
    steps = [done for done, _ in calls]
    expect(steps == sorted(steps), f"progress: expected done never to fall, got {steps[:20]}")
    totals = {total for _, total in calls}
    expect(len(totals) == 1, f"progress: expected one total, got {sorted(totals)}")


def check_progress_can_stop(subject: Subject) -> None:
    """What ``progress`` raises ends the training and reaches the caller."""

    class _StopTrainingError(Exception):
        pass

    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        raise _StopTrainingError

    try:
        subject.make().fit(block_interactions(), progress=stop)
    except _StopTrainingError:
        expect(len(calls) == 1, f"progress: expected no call after it raised, got {len(calls) - 1} more")
        return
    if not calls:
        raise NotApplicable("it reports no progress")
    raise CheckFailedError("progress: expected its exception to reach the caller of fit, got a fitted model")


def check_watching_changes_nothing(subject: Subject) -> None:
    """A model looked at while it trains answers at every look, and learns what it would have learned unseen."""
    model, looks = subject.make(), 0

    def look(done: int, total: int, so_far: Callable[[], FittedModel]) -> None:
        nonlocal looks
        looks += 1
        ranking = so_far().recommend_indices(np.arange(5), k=3)
        expect(not np.isnan(ranking.scores).any(), f"monitor: expected no NaN after step {done} of {total}, got one")

    interactions = block_interactions()
    model.fit(interactions, monitor=look)
    if not looks:
        raise NotApplicable("it does not pass its form to progress")
    unseen = _fit_repeatably(subject, interactions)
    _expect_same_answers(model, unseen, "fit: being looked at changes what is learned")


def check_single_event(subject: Subject) -> None:
    """One user with one item is enough to fit, and nothing is left to recommend to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a model may say that so little teaches it nothing
        model = subject.fit(Interactions.from_arrays([5], [7]))
    left = model.recommend(users=[5], k=3)
    expect(len(left) == 0, f"recommend: expected nothing new for a user who has had everything, got {left.rows()}")
    had = model.recommend(users=[5], k=3, filter_seen=False)["item_id"].to_list()
    expect(had == [7], f"recommend: expected [7] with filter_seen=False, got {had}")


def check_empty_rows(subject: Subject) -> None:
    """A user without events, an item without events and an event of weight 0 do no harm."""
    weights = block_interactions(20, 12, 2).to_csr().toarray()
    weights[4], weights[:, 5] = 0.0, 0.0
    rows, columns = np.nonzero(weights)
    weights[:, 3] = 0.0
    matrix = sp.csr_array((weights[rows, columns], (rows, columns)), shape=weights.shape)
    model = subject.fit(Interactions.from_csr(matrix))
    for what, asked in questions(model).items():
        ranking = model.recommend_indices(**asked, k=5)
        n_found = (ranking.indices >= 0).sum(axis=1)
        expect(n_found[4] in (0, 5), f"{what}: expected 5 items or none for the user without events, got {n_found[4]}")
        known = np.delete(ranking.scores, 4, axis=0)
        expect(np.isfinite(known).all(), f"{what}: expected 5 items for the users with events, got fewer")
        expect(not np.isnan(ranking.scores).any(), f"{what}: expected no NaN, got one")


def check_id_types(subject: Subject) -> None:
    """Ids are labels: integers, strings and their order make no difference to what is learned."""
    matrix = block_interactions(20, 12, 2).to_csr()
    n_users, n_items = matrix.shape
    by_position = _fit_repeatably(subject, Interactions.from_csr(matrix))
    expected = by_position.recommend_indices(np.arange(n_users), k=5)
    # Strings in falling order, and integers far from any position.
    for user_ids, item_ids in (
        ([f"u{n_users - n:03}" for n in range(n_users)], [f"i{n_items - n:03}" for n in range(n_items)]),
        ([7_000_000_000 - n for n in range(n_users)], [n * 1000 - 500 for n in range(n_items)]),
    ):
        model = subject.fit(Interactions.from_csr(matrix, user_ids, item_ids))
        what = f"ids such as {item_ids[0]!r}"
        expect_same(model.recommend_indices(np.arange(n_users), k=5), expected, what)
        table = model.recommend(users=user_ids[:1], k=5)
        (indices,) = model.recommend_indices(np.zeros(1, np.int64), k=5).indices
        labels = [item_ids[index] for index in indices if index >= 0]
        got = table["item_id"].to_list()
        expect(got == labels, f"{what}: expected recommend to answer with {labels}, got {got}")


def _fit_repeatably(subject: Subject, interactions: Interactions) -> Recommender:
    """A fitted model with which another fit may be compared; the check does not apply where no two fits agree."""
    model = subject.fit(interactions)
    try:
        _expect_same_answers(subject.fit(interactions), model, "")
    except CheckFailedError:
        raise NotApplicable("two fits differ anyway; see fit_is_repeatable") from None
    return model


def _expect_same_answers(got: Recommender, expected: Recommender, what: str) -> None:
    for asked in questions(expected).values():
        expect_same(got.recommend_indices(**asked, k=10), expected.recommend_indices(**asked, k=10), what)


def _snapshot(interactions: Interactions) -> dict[str, Any]:
    matrix = interactions.to_csr()
    arrays = {
        "user_index": interactions.user_index,
        "item_index": interactions.item_index,
        "weight": interactions.weight,
        "datetime": interactions.datetime,
        "to_csr().data": matrix.data,
        "to_csr().indices": matrix.indices,
        "to_csr().indptr": matrix.indptr,
        "to_csr('binary').data": interactions.to_csr("binary").data,
        "users": interactions.users.ids.to_numpy(),
        "items": interactions.items.ids.to_numpy(),
    }
    return {name: np.array(array, copy=True) for name, array in arrays.items()}
