"""The second stage: what it learns from, what it adds to its retriever, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import Interactions, create, runtime, save_bundle
from recsys_core.data import Histories
from recsys_core.errors import ConfigError, DataError
from recsys_core.testing import parametrize_with_checks
from recsys_core.testing.checks import check_user_features
from recsys_core.testing.subject import Subject
from recsys_core.types import Ranking
from recsys_neural.models.candidates import CandidateBatches, CandidateLists, without_newest
from recsys_neural.models.ranker import _is_gain
from recsys_neural.models.ranking import listwise_loss

SMALL = {"n_factors": 8, "n_candidates": 20, "n_epochs": 60, "learning_rate": 0.02, "batch_size": 32, "n_threads": 1}
EAGER = {"n_hidden": 64, "id_dropout": 0.1, "dropout": 0.1, "weight_decay": 0.0, "validation": 0.1}


@pytest.mark.slow
@parametrize_with_checks(["ranker"], settings={**SMALL, "n_epochs": 10, "learning_rate": 0.002})
def test_ranker_conformance(check) -> None:
    check()


@pytest.mark.slow
def test_conformance_in_reading_features() -> None:
    # Without users held out, the second stage's order is always its own, for which features count.
    check_user_features(Subject.of("ranker", {**SMALL, "n_epochs": 10, "validation": 0.0}))
    retriever = {"name": "als", "n_factors": 4, "user_features": ("town", "age")}
    check_user_features(Subject.of("ranker", {**SMALL, "n_epochs": 10, "validation": 0.0, "retriever": retriever}))


def pairs_of_shops(n_users: int = 150) -> tuple[Interactions, np.ndarray]:
    """Items come in pairs, n and n + 10: whoever had one takes its partner next; and the partner of each item."""
    rng = np.random.default_rng(0)
    users, items = [], []
    for user in range(n_users):
        first = rng.choice(10, 3, replace=False)
        users += [user] * 6
        items += [item for n in first for item in (n, n + 10)]
    times = np.tile(np.arange(6), n_users)
    table = pl.DataFrame({"item_id": np.arange(20), "kind": ["cup"] * 10 + ["pot"] * 10, "pair": np.arange(20) % 10})
    table = table.with_columns(pl.col("pair").cast(pl.String))
    interactions = Interactions.from_arrays(users, items, datetimes=times).with_features(table)
    return interactions, (np.arange(20) + 10) % 20


@pytest.fixture(scope="module")
def fitted():
    settings = {**SMALL, **EAGER, "n_epochs": 25, "target_share": 0.6}
    return create("ranker", retriever={"name": "popularity"}, **settings).fit(pairs_of_shops(400)[0])


def test_it_finds_what_goes_with_the_history_where_its_retriever_cannot(fitted) -> None:
    cups = [[n] for n in range(10)]
    first = fitted.recommend(histories=cups, k=1)["item_id"].to_numpy()
    retrieved = fitted.retriever_.recommend(histories=cups, k=1)["item_id"].to_numpy()
    partners = np.arange(10) + 10
    assert (retrieved == partners).mean() <= 0.2
    assert (first == partners).mean() >= 0.8
    assert fitted.best_epoch_ >= 1
    assert fitted.curve_[-1].loss < fitted.curve_[0].loss


def test_only_what_the_retriever_found_is_ranked(fitted) -> None:
    few = replace(fitted.fitted, form=replace(fitted.form, n_candidates=6))
    had = [[0, 11], [5]]
    ranked = few.recommend(histories=had, k=10)
    found = fitted.retriever_.recommend(histories=had, k=6)
    column = ranked.columns[0]
    assert len(ranked) == 12
    for each in ranked[column].unique():
        lists = [set(table.filter(pl.col(column) == each)["item_id"]) for table in (ranked, found)]
        assert lists[0] == lists[1]


def test_a_bundle_answers_the_same_without_the_plugin(fitted, tmp_path) -> None:
    save_bundle(fitted, tmp_path / "bundle")
    loaded = runtime.load(tmp_path / "bundle")
    users = fitted.users.ids.to_list()[:9]
    assert loaded.recommend(users, k=5)["item_id"].to_list() == fitted.recommend(users, k=5)["item_id"].to_list()


def test_the_score_of_an_item_is_what_it_is_recommended_with_alone_natively_and_by_the_bundle(fitted, tmp_path) -> None:
    save_bundle(fitted, tmp_path / "bundle")
    loaded = runtime.load(tmp_path / "bundle")
    users, items = fitted.users.ids.to_list()[:9], fitted.items.ids.to_list()
    for item in items[::4]:
        scores = fitted.score(users, item_ids=item)["score"].to_numpy()
        assert scores.std() > 0
        for model in (fitted, loaded):
            alone = model.recommend(users, k=1, allow=[item], filter_seen=False)
            assert alone["item_id"].to_list() == [item] * len(users)
            np.testing.assert_allclose(alone["score"].to_numpy(), scores, rtol=1e-4, atol=1e-4)


def tasteful(n_users: int = 200) -> tuple[Interactions, np.ndarray]:
    """Users who take two of eight items that all like, then two of the eight of their taste, which a feature tells."""
    rng = np.random.default_rng(1)
    taste = rng.integers(0, 2, n_users)
    firsts = np.array([0, 8])[taste]
    items = np.concatenate([first + rng.permutation(8)[:2] for pair in firsts for first in (16, pair)])
    table = pl.DataFrame({"user_id": np.arange(n_users), "taste": [f"t{own}" for own in taste]})
    sales = Interactions.from_arrays(np.repeat(np.arange(n_users), 4), items, datetimes=np.tile(np.arange(4), n_users))
    return sales.with_features(None, table), taste


@pytest.fixture(scope="module")
def told():
    """Second to one that knows what is popular, by lists of which the history says nothing."""
    learned = {"validation": 0.0, "target_share": 0.5, "lists_per_user": 1, "n_candidates": 24}
    return create("ranker", retriever="popularity", **{**SMALL, **learned}).fit(tasteful()[0])


def test_user_features_count(told) -> None:
    _, taste = tasteful()
    assert told.form.user_inputs.shape == (200, 20 * (8 + 1) + 8)
    known = told.recommend_indices(np.arange(200), k=4).indices
    own = np.array([told.items.ids.gather(row).to_numpy() // 8 for row in known])
    assert (own == taste[:, None]).mean() > 0.95


def test_strangers_are_answered_by_their_own_features(told) -> None:
    people = [{"taste": "t0"}, {"taste": "t1"}]
    for history in ([16, 17], [18, 20]):
        best = told.recommend(histories=[history, history], user_features=people, k=4)["item_id"].to_numpy()
        assert (best // 8).tolist() == [0] * 4 + [1] * 4
    assert len(told.recommend(histories=[[0, 1]], k=4)) == 4  # of whom nothing is told


def test_a_stranger_told_what_a_user_is_known_by_is_answered_as_that_user(told) -> None:
    sales, _ = tasteful()
    items = told.items.ids
    known = told.score(3, item_ids=items)["score"]
    histories = told.histories.rows([3])
    asked = told.score_indices(
        histories=histories, user_features=sales.user_features[3:4], item_index=np.arange(24), row=np.zeros(24, int)
    )
    np.testing.assert_allclose(asked, known, rtol=1e-4, atol=1e-4)


def test_features_of_strangers_go_with_the_bundle(told, tmp_path) -> None:
    path = save_bundle(told, tmp_path / "bundle")
    asked = {"histories": [[], [9], [0, 3]], "user_features": [{"taste": "t0"}, {}, {"taste": "t1"}], "k": 5}
    expected = told.recommend(**asked)
    for backend in ("core", "onnx"):
        served = runtime.load(path, backend=backend).recommend(**asked)
        assert served.drop("score").equals(expected.drop("score"))
        np.testing.assert_allclose(served["score"], expected["score"], rtol=1e-4, atol=1e-4)


def test_both_stages_read_what_the_retriever_reads() -> None:
    sales, _ = tasteful(60)
    first = {"name": "two_tower", "n_factors": 8, "n_epochs": 2, "min_count": 3, "n_threads": 1}
    settings = {**SMALL, "n_epochs": 2, "validation": 0.0, "n_folds": 1}
    model = create("ranker", retriever=first, **settings).fit(sales)
    assert model.user_preparation_ == model.form.retriever.user_preparation == model.form.encoder.preparation
    assert len(model.recommend(user_features=[{"taste": "t1"}], k=4)) == 4


def test_a_retriever_that_reads_features_is_told_them() -> None:
    class Listens(ItemsInOrder):
        def recommend_indices(self, *, histories, user_features, k):
            asked.extend(user_features["name"])
            return super().recommend_indices(histories=histories, user_features=user_features, k=k)

    asked: list[str] = []
    table = pl.DataFrame({"user_id": [0, 1, 2], "name": ["ann", "bob", "eve"]})
    histories = Histories.from_lists([[5, 0, 1, 2, 4], [3], [2, 0]])
    CandidateLists.find(Listens(), histories, 0.4, k=3, per_user=4, user_features=table)
    assert asked == ["ann", "ann", "eve"]


def test_a_fitted_model_can_be_the_retriever() -> None:
    sales, _ = pairs_of_shops()
    first = create("item_knn").fit(without_newest(sales, 0.2))
    model = create("ranker", **SMALL)
    model.retriever = first
    assert model.fit(sales).form.retriever is first.form
    model.retriever = create("item_knn").fit(Interactions.from_arrays(["ann", "bob"], ["tea", "tea"]))
    with pytest.raises(DataError, match="retriever: expected the 150 users of the interactions"):
        model.fit(sales)


@pytest.mark.parametrize(("retriever", "message"), [("bpr", "answers histories"), ({"k": 3}, "a dict with a name")])
def test_a_retriever_that_cannot_be_asked_is_refused(retriever, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("ranker", retriever=retriever, **SMALL).fit(pairs_of_shops()[0])


def test_where_nothing_can_be_learned_the_order_is_the_retrievers() -> None:
    lonely = Interactions.from_arrays(["ann", "bob", "eve"], ["tea", "rum", "tea"])
    with pytest.warns(UserWarning, match="candidates keep the retriever's"):
        model = create("ranker", retriever="popularity", **SMALL).fit(lonely)
    assert model.recommend(histories=[[]], k=2)["item_id"].to_list() == ["tea", "rum"]


class ItemsInOrder:
    """Finds items 0, 1, 2, ... but for those of the history."""

    def recommend_indices(self, *, histories, user_features, k):
        rows = [
            [item for item in range(6) if item not in history][:k]
            for history in np.split(histories.indices, histories.indptr[1:-1])
        ]
        rows = [row + [-1] * (k - len(row)) for row in rows]
        indices = np.array(rows, np.int64).reshape(-1, k)
        return Ranking(indices, np.where(indices >= 0, 10.0 - indices, -np.inf).astype(np.float32))


def test_lists_come_before_the_newest_events_and_hold_what_was_taken_from_then_on() -> None:
    histories = Histories.from_lists([[5, 0, 1, 2, 4], [3], [2, 5]])
    lists = CandidateLists.find(ItemsInOrder(), histories, 0.4, k=3, per_user=4)
    # User 0's newest two are 2, found after 5, 0, 1 together with the later 4, and 4, found after 2 too; user 2's, 5,
    # is not found, and user 1 has too few.
    assert lists.users.tolist() == [0, 0]
    assert lists.items.tolist() == [[2, 3, 4], [3, 4, -1]]
    assert lists.taken.tolist() == [[True, False, True], [False, True, False]]
    np.testing.assert_allclose(lists.scores, [[1.5**0.5, 0, -(1.5**0.5)], [1, -1, 0]], rtol=2e-3)
    (batch,) = CandidateBatches(lists, max_length=3, batch_size=4).in_order()
    assert batch[0].tolist() == [0, 0]
    assert batch[1].tolist() == [[5, 0, 1], [0, 1, 2]]


def test_an_item_had_before_the_event_only_is_not_taken() -> None:
    class Everything:
        def recommend_indices(self, *, histories, user_features, k):
            indices = np.tile(np.arange(k), (len(histories), 1))
            return Ranking(indices, np.zeros(indices.shape, np.float32))

    histories = Histories.from_lists([[0, 1, 0, 2, 3]])
    lists = CandidateLists.find(Everything(), histories, 0.6, k=4, per_user=1)
    assert lists.taken.tolist() == [[True, False, True, True]]  # 0 again, then 2 and 3; 1 before all of them


@pytest.mark.parametrize(("per_user", "events"), [(1, [5]), (2, [5, 7]), (4, [5, 6, 7, 8]), (9, [5, 6, 7, 8])])
def test_long_histories_give_a_few_lists_far_apart(per_user: int, events: list[int]) -> None:
    histories = Histories.from_lists([[5, 4, 5, 4, 5, 0, 1, 2, 3]])
    lists = CandidateLists.find(ItemsInOrder(), histories, 4 / 9, k=4, per_user=per_user)
    assert lists.events.tolist() == events


def test_users_are_held_out_with_all_their_lists() -> None:
    histories = Histories.from_lists([[5, 4, 0, 1, 2]] * 20)
    lists = CandidateLists.find(ItemsInOrder(), histories, 0.6, k=4, per_user=4)
    training, held_out = lists.hold_out(0.25, 0)
    assert len(np.unique(held_out.users)) == 5
    assert not np.isin(training.users, held_out.users).any()
    assert len(training) + len(held_out) == len(lists) == 60
    assert len(lists.hold_out(0.0, 0)[1]) == 0


def test_the_gain_is_the_one_that_makes_the_choices_likeliest() -> None:
    histories = Histories.from_lists([[5, 4, 5, 4, n] for n in (0, 0, 0, 1, 2)])
    lists = CandidateLists.find(ItemsInOrder(), histories, 0.2, k=4, per_user=1)
    z = lists.scores[0].astype(np.float64)

    def loss(gain: float) -> float:
        return sum(np.log(np.exp(gain * z).sum()) - gain * z[n] for n in (0, 0, 0, 1, 2))

    gains = [2.0**power for power in range(-6, 3)]
    assert lists.gain() == min(gains, key=loss)


def test_the_loss_is_shared_among_all_that_was_taken() -> None:
    scores = torch.tensor([[0.3, -1.0, 0.7, -torch.inf], [1.0, 0.0, 0.5, 0.2]])
    taken = torch.tensor([[True, False, True, False], [False, True, False, False]])
    chosen = [torch.softmax(row, 0) for row in scores]
    expected = -((chosen[0][0].log() + chosen[0][2].log()) / 2 + chosen[1][1].log()) / 2
    torch.testing.assert_close(listwise_loss(scores, taken), expected)


def test_a_gain_must_exceed_its_error_over_users() -> None:
    users = np.repeat(np.arange(4), 2)
    assert _is_gain(np.full(8, 0.1), users)
    # Means of the users: .4, 0, 0, 0, of which the mean is .1 and the standard error .1; one user proves nothing.
    assert not _is_gain(np.array([0.4, 0.4, 0, 0, 0, 0, 0, 0]), users)
    assert not _is_gain(np.full(8, 0.1), np.zeros(8, np.int64))


def test_what_helps_nobody_leaves_the_retrievers_order() -> None:
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(80), 6), np.concatenate([rng.permutation(30)[:6] for _ in range(80)])
    people = pl.DataFrame({"user_id": np.arange(80), "age": rng.normal(size=80)})
    noise = Interactions.from_arrays(users, items, datetimes=np.tile(np.arange(6), 80)).with_features(None, people)
    model = create("ranker", retriever="popularity", validation=0.5, **{**SMALL, "n_epochs": 8}).fit(noise)
    assert model.best_epoch_ == 0
    assert model.form.user_preparation is None  # they would be read for nothing
    asked = [[n] for n in range(30)]
    found = model.retriever_.recommend(histories=asked, k=5)
    assert model.recommend(histories=asked, k=5)["item_id"].to_list() == found["item_id"].to_list()


def test_what_a_retriever_is_fitted_on_lacks_the_newest_events_and_no_id() -> None:
    sales = Interactions.from_arrays(
        ["ann", "bob", "ann", "ann", "eve", "bob"], ["a", "b", "c", "d", "e", "f"], datetimes=[3, 1, 1, 2, 1, 0]
    )
    part = without_newest(sales, 0.5)
    assert part.users.ids.equals(sales.users.ids)
    assert part.items.ids.equals(sales.items.ids)
    # Half of ann's three is rounded to two, of bob's two to one; eve keeps her only one.
    assert sorted(part.items.ids.gather(part.item_index).to_list()) == ["c", "e", "f"]
    part = without_newest(sales, 0.5, np.array([0]))
    assert sorted(part.items.ids.gather(part.item_index).to_list()) == ["b", "c", "e", "f"]
