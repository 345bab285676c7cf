"""The synthetic data are what their documentation says."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_core.testing import block_frame, block_interactions, held_out_items


@pytest.mark.parametrize("sizes", [(60, 40, 4), (6, 4, 2), (1, 1, 1), (30, 24, 4)])
def test_every_user_and_item_occurs(sizes):
    interactions = block_interactions(*sizes)
    assert interactions.users.ids.to_list() == list(range(sizes[0]))
    assert interactions.items.ids.to_list() == list(range(sizes[1]))


def test_the_seed_decides():
    assert block_frame(random_state=3).equals(block_frame(random_state=3))
    assert not block_frame(random_state=3).equals(block_frame(random_state=4))


def test_each_call_gives_new_interactions():
    assert block_interactions() is not block_interactions()


def test_activity_and_popularity_have_long_tails():
    interactions = block_interactions(400, 200, 4, events_a_user=10.0)
    for counts in (np.bincount(interactions.user_index), np.bincount(interactions.item_index)):
        ordered = np.sort(counts)[::-1]
        assert ordered[: len(ordered) // 5].sum() > 0.5 * ordered.sum(), "the top fifth has more than half"
    assert (np.bincount(block_interactions().user_index) == 1).any(), "the checks see users of a single event"


def test_most_events_fall_on_the_own_block_and_weigh_more():
    frame = block_frame(200, 100, 4, loyalty=0.9)
    own = (frame["user_id"] % 4 == frame["item_id"] % 4).to_numpy()
    assert own.mean() == pytest.approx(0.9 + 0.1 / 4, abs=0.05)
    assert set(frame["weight"].to_numpy()[own]) == {4.0, 5.0}
    assert set(frame["weight"].to_numpy()[~own]) == {1.0, 2.0}


def test_pairs_repeat_and_times_do_not():
    frame = block_frame()
    assert frame.select("user_id", "item_id").is_duplicated().any()
    assert frame["datetime"].is_unique().all()
    assert not frame["datetime"].is_sorted()


def test_the_held_out_item_is_new_to_its_user():
    held_out = held_out_items()
    seen = held_out.train.to_csr("binary").toarray() > 0
    assert not seen[np.arange(len(seen)), held_out.item_index].any()
    assert not held_out.chances[seen].any()
    np.testing.assert_allclose(held_out.chances.sum(axis=1), 1.0, rtol=1e-5)
