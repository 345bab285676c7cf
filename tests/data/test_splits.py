from __future__ import annotations

import datetime as dt
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys_core.data import Interactions, Split, split_global_time, split_leave_last, split_random, split_users
from recsys_core.errors import ConfigError, DataError

EVENT = st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 10))
# Two users with enough for every split, so that hardly a draw is thrown away.
ENOUGH = [(user, item, item) for user in (6, 7) for item in range(6)]
EVENTS = st.lists(EVENT, max_size=50).map(lambda events: events + ENOUGH)
SPLITS = {
    "random": split_random,
    "random-all": lambda x: split_random(x, per_user=False),
    "leave-last": split_leave_last,
    "leave-last-2": lambda x: split_leave_last(x, 2),
    "global-time": split_global_time,
    "users": split_users,
}


def build(events, *, times=True):
    # The weight numbers the rows, so that each event can be told from its equals.
    users, items, seconds = zip(*events, strict=True)
    return Interactions.from_arrays(users, items, range(len(events)), seconds if times else None, time_unit="s")


def split_or_skip(split, interactions):
    try:
        return split(interactions)
    except DataError:
        assume(False)


def rows(part):
    return [] if part is None else part.to_frame().rows()


@pytest.mark.parametrize("name", SPLITS)
@given(events=EVENTS)
def test_every_event_is_in_exactly_one_part(name, events):
    interactions = build(events)
    split = split_or_skip(SPLITS[name], interactions)
    parts = rows(split.train) + rows(split.test) + rows(split.history)
    assert Counter(parts) == Counter(rows(interactions))
    assert (split.history is not None) == (name == "users")


@pytest.mark.parametrize("name", SPLITS)
@given(events=EVENTS)
def test_each_part_knows_only_its_own_ids(name, events):
    split = split_or_skip(SPLITS[name], build(events))
    for part in (split.train, split.test, split.history):
        if part is not None:
            assert set(part.users.ids) == set(part.to_frame()["user_id"])
            assert set(part.items.ids) == set(part.to_frame()["item_id"])


@given(EVENTS, st.integers(1, 3), st.booleans())
def test_leave_last_holds_out_the_last_of_each_user(events, n, times):
    split = split_or_skip(lambda x: split_leave_last(x, n), build(events, times=times))
    expected = []
    for user in {u for u, _, _ in events}:
        mine = [(t if times else 0, row) for row, (u, _, t) in enumerate(events) if u == user]
        if len(mine) > n:
            expected += [row for _, row in sorted(mine)[-n:]]
    assert sorted(split.test.weight.astype(int).tolist()) == sorted(expected)
    assert set(split.test.users.ids) <= set(split.train.users.ids)


@given(EVENTS, st.floats(0.05, 0.95))
def test_global_time_leaks_no_future(events, fraction):
    split = split_or_skip(lambda x: split_global_time(x, test_fraction=fraction), build(events))
    assert split.train.datetime.max() < split.test.datetime.min()


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=50, unique=True), st.floats(0.05, 0.95))
def test_global_time_holds_out_the_fraction_where_times_differ(seconds, fraction):
    split = split_global_time(build([(1, 1, t) for t in seconds]), test_fraction=fraction)
    expected = min(max(1, np.floor(len(seconds) * fraction + 0.5)), len(seconds) - 1)
    assert len(split.test) == expected


def test_global_time_at_a_moment():
    interactions = build([(1, 1, 0), (1, 2, 86_400), (2, 3, 86_401)])
    moment = dt.datetime(1970, 1, 2)
    for at in (moment, moment.date(), "1970-01-02", "1970-01-02T01:00+01:00", np.datetime64("1970-01-02")):
        split = split_global_time(interactions, at=at)
        assert (len(split.train), len(split.test)) == (1, 2)
        assert split.unknown_to_train() == {
            "test_users": 2, "unknown_users": 1, "test_items": 2, "unknown_items": 2, "test_events": 2,
            "unknown_item_events": 2, "history_events": 0, "unknown_history_events": 0,
        }  # fmt: skip


def test_global_time_needs_times_and_one_setting():
    with pytest.raises(
        DataError, match=r'got none; name their column, columns=\{"datetime": \.\.\.\}, or use split_leave_last'
    ):
        split_global_time(build([(1, 1, 0), (1, 2, 1)], times=False))
    with pytest.raises(ConfigError, match=r"expected one of them, got 0.5 and '1970-01-02'"):
        split_global_time(build([(1, 1, 0)]), test_fraction=0.5, at="1970-01-02")
    with pytest.raises(DataError, match="got none in test out of 2"):
        split_global_time(build([(1, 1, 0), (1, 2, 1)]), at="1980-01-01")
    with pytest.raises(DataError, match="got none in test out of 2"):
        split_global_time(build([(1, 1, 7), (1, 2, 7)]))


def test_global_time_goes_to_the_next_time_if_the_first_has_too_many_events():
    split = split_global_time(build([(1, i, 0) for i in range(9)] + [(1, 9, 5)]), test_fraction=0.5)
    assert (len(split.train), len(split.test)) == (9, 1)


@given(EVENTS, st.floats(0.05, 0.95), st.booleans(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_random_depends_on_the_seed_and_not_on_the_rows(events, fraction, per_user, seed, shuffler):
    events = [(u, i, 0) for u, i, _ in events]

    def split(events):
        return split_random(build(events), test_fraction=fraction, per_user=per_user, random_state=seed)

    first = split_or_skip(lambda _: split(events), build(events))
    shuffled = shuffler.sample(events, len(events))
    pairs = [sorted(part.to_frame().select("user_id", "item_id").rows()) for part in (first.test, split(shuffled).test)]
    assert pairs[0] == pairs[1]


@given(EVENTS, st.floats(0.05, 0.95))
def test_random_keeps_pairs_whole_and_takes_the_fraction_of_each_user(events, fraction):
    split = split_or_skip(lambda x: split_random(x, test_fraction=fraction), build(events))
    train, test = (set(part.to_frame().select("user_id", "item_id").rows()) for part in (split.train, split.test))
    assert not train & test
    for user in {u for u, _, _ in events}:
        n = len({i for u, i, _ in events if u == user})
        expected = min(np.floor(n * fraction + 0.5), n - 1)
        assert sum(u == user for u, _ in test) == expected


def test_random_over_all_pairs_and_another_seed():
    interactions = build([(u, i, 0) for u in range(10) for i in range(10)])
    parts = [split_random(interactions, test_fraction=0.33, per_user=False, random_state=s) for s in (0, 1)]
    assert [len(split.test) for split in parts] == [33, 33]
    assert rows(parts[0].test) != rows(parts[1].test)
    per_user = split_random(interactions, test_fraction=0.33)
    assert set(Counter(per_user.test.user_index.tolist()).values()) == {3}


@given(EVENTS, st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.integers(0, 3))
def test_users_are_disjoint_and_their_test_events_later(events, test_fraction, history_fraction, seed):
    split = split_or_skip(
        lambda x: split_users(x, test_fraction=test_fraction, history_fraction=history_fraction, random_state=seed),
        build(events),
    )
    train, test, history = (set(part.users.ids) for part in (split.train, split.test, split.history))
    assert not train & test
    assert test == history
    for user in test:
        early = [(t, row) for u, _, row, t in split.history.to_frame().rows() if u == user]
        late = [(t, row) for u, _, row, t in split.test.to_frame().rows() if u == user]
        assert max(early) < min(late)
        n = len(early) + len(late)
        assert len(early) == np.clip(np.floor(n * history_fraction + 0.5), 1, n - 1)
    assert split.unknown_to_train()["unknown_users"] == len(test)


def test_users_takes_the_fraction_and_depends_on_the_seed():
    interactions = build([(u, i, i) for u in range(20) for i in range(5)])
    splits = [split_users(interactions, test_fraction=0.25, random_state=s) for s in (0, 0, 1)]
    users = [split.test.users.ids.to_list() for split in splits]
    assert [len(ids) for ids in users] == [5, 5, 5]
    assert users[0] == users[1] != users[2]


def test_events_of_the_histories_that_no_model_can_know_are_counted():
    train, test, history = (build(events) for events in ([(0, 1, 0)], [(1, 1, 2)], [(1, 1, 0), (1, 2, 1), (1, 2, 1)]))
    counts = Split(train, test, history).unknown_to_train()
    assert (counts["history_events"], counts["unknown_history_events"], counts["unknown_items"]) == (3, 2, 0)


def test_users_with_one_event_are_trained_on():
    split = split_users(build([(0, 0, 0), (1, 0, 0), (1, 1, 1)]), test_fraction=0.9)
    assert split.test.users.ids.to_list() == [1]
    with pytest.raises(DataError, match=r"got 2 users, 0 with two events"):
        split_users(build([(0, 0, 0), (1, 0, 0)]))
    with pytest.raises(DataError, match="got 1 users, 1 with two events"):
        split_users(build([(0, 0, 0), (0, 1, 0)]))


def test_features_and_source_follow():
    import polars as pl

    films = pl.DataFrame({"item_id": range(9), "title": [f"t{i}" for i in range(9)]})
    interactions = build([(1, i, i) for i in range(9)]).with_features(films)
    split = split_leave_last(interactions)
    assert split.test.item_features.rows() == [(8, "t8")]
    assert split.train.item_features["title"].to_list() == [f"t{i}" for i in range(8)]


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan")])
def test_fractions_out_of_range(value):
    interactions = build([(0, 0, 0), (0, 1, 1), (1, 0, 0)])
    for split, names in ((split_random, ["test_fraction"]), (split_global_time, ["test_fraction"]),
                         (split_users, ["test_fraction", "history_fraction"])):  # fmt: skip
        for name in names:
            with pytest.raises(ConfigError, match=rf"{name}: expected a number in \(0, 1\), got {value}"):
                split(interactions, **{name: value})
    with pytest.raises(ConfigError, match="n: expected at least 1, got 0"):
        split_leave_last(interactions, 0)


def test_nothing_to_hold_out():
    for split in (split_random, split_leave_last):
        with pytest.raises(DataError, match="got none in test out of 2; change the setting"):
            split(build([(0, 0, 0), (1, 0, 0)]))
