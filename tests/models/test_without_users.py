"""People who leave a fitted model: what goes with them, and what everybody else is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from form_examples import N_USERS

from recsys_core import runtime, save_bundle
from recsys_core.data import Histories
from recsys_core.errors import DataError, UnknownIdError
from recsys_core.models import PairForm, Reranker
from recsys_core.types import Ranking

LEAVING = ["u04", "u11", "u49"]
STAYING = [f"u{i:02}" for i in range(N_USERS) if f"u{i:02}" not in LEAVING]


class FirstK(Reranker):
    def rerank(self, pool, k, model, histories):
        return Ranking(pool.indices[:, :k], pool.scores[:, :k])


def tables(form):
    """Every array of the form with a row a user."""
    found = [getattr(form, name, None) for name in ("user_factors", "user_inputs")]
    if isinstance(form, PairForm) and form.retriever is not None:
        found += tables(form.retriever)
    return [table for table in found if table is not None]


def test_those_who_stay_are_answered_as_before(fitted):
    before = fitted.recommend(STAYING, k=7)
    assert fitted.without_users(LEAVING).recommend(STAYING, k=7).equals(before)
    assert fitted.recommend("u04", k=7)["user_id"].to_list() == ["u04"] * 7  # who asks the old one is not disturbed


def test_ids_histories_and_vectors_go(fitted):
    left = fitted.without_users(LEAVING)
    assert left.users.ids.to_list() == STAYING
    rows = [int(user[1:]) for user in STAYING]
    np.testing.assert_array_equal(left.histories.indices, fitted.histories.rows(rows).indices)
    for old, new in zip(tables(fitted.form), tables(left.form), strict=True):
        np.testing.assert_array_equal(new, old[rows])
    with pytest.raises(UnknownIdError, match="u04"):
        left.recommend("u04")


def test_one_id_will_do(fitted):
    assert len(fitted.without_users("u07").users) == N_USERS - 1


def test_an_unknown_user_removes_nobody(fitted):
    with pytest.raises(UnknownIdError, match=r"users: unknown user 'x' \(1 unknown in all\); nobody was removed"):
        fitted.without_users(["u01", "x"])


def test_an_index_that_was_made_is_kept(fitted):
    fitted.recommend("u01")
    left = fitted.without_users(LEAVING)
    if "index" in vars(fitted.form):
        assert left.form.index is fitted.form.index


def test_behind_a_reranker(fitted):
    left = fitted.reranked(FirstK(), 20).without_users(LEAVING)
    assert left.users.ids.to_list() == STAYING
    assert left.recommend(STAYING[:5], k=4).equals(fitted.recommend(STAYING[:5], k=4))


@pytest.mark.parametrize("backend", ["onnx", "core"])
def test_from_a_served_bundle(fitted, tmp_path, backend):
    served = runtime.load(save_bundle(fitted, tmp_path / "old"), backend=backend)
    left = served.without_users(LEAVING)
    assert left.manifest == served.manifest
    published = runtime.load(save_bundle(left, tmp_path / "new"), backend=backend)
    expected = served.recommend(STAYING, k=5)["item_id"].to_list()
    assert left.recommend(STAYING, k=5)["item_id"].to_list() == expected
    assert published.recommend(STAYING, k=5)["item_id"].to_list() == expected
    for user in LEAVING:
        assert not any(f'"{user}"'.encode() in file.read_bytes() for file in (tmp_path / "new").iterdir())


def test_a_bundle_about_nobody(fitted, tmp_path):
    if not fitted.form.accepts_histories:
        with pytest.raises(DataError, match="users: expected somebody to stay, got all users of a model that answers"):
            save_bundle(fitted, tmp_path / "bundle", with_users=False)
        assert list(tmp_path.iterdir()) == []
        return
    path = save_bundle(fitted, tmp_path / "bundle", with_users=False)
    assert json.loads((path / "user_ids.json").read_text())["ids"] == []
    asked = Histories.from_lists([[3, 1, 8], [5]])
    expected = fitted.recommend_indices(histories=asked, k=6).indices
    for backend in ("onnx", "core"):
        anonymous = runtime.load(path, backend=backend)
        assert not tables(anonymous.form)
        assert not len(anonymous.histories)
        assert not len(anonymous.users)
        np.testing.assert_array_equal(anonymous.recommend_indices(histories=asked, k=6).indices, expected)
        with pytest.raises(DataError, match="a model that keeps no users, got 'fallback'"):
            anonymous.recommend("u01", on_unknown="fallback")
