"""Checks of what a fitted model answers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys_core.errors import DataError, UnknownIdError
from recsys_core.models import Recommender
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.rankings import expect_same, expect_same_tables, take
from recsys_core.testing.subject import Subject, questions
from recsys_core.types import Ranking

__all__ = [
    "check_batch_equals_single",
    "check_empty_history",
    "check_filters",
    "check_finite_scores",
    "check_large_k",
    "check_order",
    "check_similar_items",
    "check_threads",
    "check_unknown_items",
    "check_unknown_users",
]

STRANGER = 1_000_003


def check_batch_equals_single(subject: Subject) -> None:
    """An answer does not depend on who else is asked for in the same call."""
    model = subject.fitted
    rows = np.arange(len(model.users))
    for what, asked in questions(model, rows).items():
        batch = model.recommend_indices(**asked, k=10)
        backwards = model.recommend_indices(**questions(model, rows[::-1])[what], k=10)
        expect_same(take(backwards, rows[::-1]), batch, f"{what} asked for in another order")
        for row in rows[::7]:
            single = model.recommend_indices(**questions(model, rows[row : row + 1])[what], k=10)
            expect_same(single, take(batch, rows[row : row + 1]), f"{what} {row} asked for alone")


def check_unknown_users(subject: Subject) -> None:
    """The four ways of ``on_unknown`` treat an unknown user as documented, and known users as without them."""
    model = subject.fitted
    known = model.users.ids[:2].to_list()
    _check_unknown(model, {"users": [known[0], STRANGER, known[1]]}, {"users": known}, "user")
    table = model.recommend(users=[STRANGER], k=5, on_unknown="fallback")
    expect(len(table) == 5, f"on_unknown='fallback': expected 5 items for an unknown user, got {len(table)}")


def check_unknown_items(subject: Subject) -> None:
    """The four ways of ``on_unknown`` treat an unknown item in a history as documented."""
    model = _with_histories(subject)
    one, other = model.items.ids[:2].to_list()
    _check_unknown(model, {"histories": [[one, STRANGER, other]]}, {"histories": [[one, other]]}, "item")


def check_empty_history(subject: Subject) -> None:
    """An empty history gets what the model says of everybody, or nothing, and leaves its neighbours' answers alone."""
    model = _with_histories(subject)
    item = model.items.ids[0]
    table = model.recommend(histories=[[], [item], []], k=5, filter_seen=False)
    n_items = [table.filter(pl.col("user_id") == row).height for row in range(3)]
    expect(
        n_items in ([5, 5, 5], [0, 5, 0]),
        f"histories=[[], [{item!r}], []]: expected 5 items each, or none for the empty ones, got {n_items}",
    )
    blank = table.filter(pl.col("user_id") == 0)["score"]
    expect(
        not len(blank) or bool((blank != 0).any()),
        "histories=[[]]: got 5 items of score 0, which is the order of the items; return nothing instead",
    )
    alone = model.recommend(histories=[[item]], k=5, filter_seen=False)["item_id"].to_list()
    beside = table.filter(pl.col("user_id") == 1)["item_id"].to_list()
    expect(alone == beside, f"histories=[[{item!r}]]: expected {alone} beside empty ones too, got {beside}")


def check_large_k(subject: Subject) -> None:
    """Asked for more items than there are, it pads the row with index -1 and score -inf."""
    model = subject.fitted
    n_items = len(model.items)
    for what, asked in questions(model).items():
        whole = model.recommend_indices(**asked, k=n_items)
        larger = model.recommend_indices(**asked, k=n_items + 7)
        shape = (len(model.users), n_items + 7)
        expect(larger.indices.shape == shape, f"{what}, k={n_items + 7}: expected {shape}, got {larger.indices.shape}")
        expect_same(Ranking(larger.indices[:, :n_items], larger.scores[:, :n_items]), whole, f"{what}, k={n_items + 7}")
        padded = (larger.indices[:, n_items:] == -1) & np.isneginf(larger.scores[:, n_items:])
        expect(padded.all(), f"{what}, k={n_items + 7}: expected index -1 and score -inf beyond the last item")


def check_order(subject: Subject) -> None:
    """A list is ordered by score descending, then item index ascending; padding is last and no item comes twice."""
    model = subject.fitted
    for what, asked in questions(model).items():
        indices, scores = model.recommend_indices(**asked, k=len(model.items), filter_seen=False)
        expect((np.diff((indices < 0).astype(np.int8), axis=1) >= 0).all(), f"{what}: an item follows padding")
        both = (indices[:, :-1] >= 0) & (indices[:, 1:] >= 0)
        rising = both & (scores[:, :-1] < scores[:, 1:])
        expect(not rising.any(), f"{what}: a higher score follows a lower one in row {_first(rising)}")
        wrong_tie = both & (scores[:, :-1] == scores[:, 1:]) & (indices[:, :-1] > indices[:, 1:])
        expect(
            not wrong_tie.any(), f"{what}: of two items of one score, the higher index is first, {_first(wrong_tie)}"
        )
        ordered = np.sort(indices, axis=1)
        twice = (np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)
        expect(not twice.any(), f"{what}: an item comes twice in row {_first(twice)}")


def check_finite_scores(subject: Subject) -> None:
    """Neither what was learned nor a score is NaN or infinite."""
    model = subject.fitted
    arrays, _ = model.form.state()
    bad = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    expect(not bad, f"form: expected finite values, got NaN or infinity in {', '.join(bad)}")
    for what, asked in questions(model).items():
        ranking = model.recommend_indices(**asked, k=len(model.items), filter_seen=False)
        expect(
            np.isfinite(ranking.scores[ranking.indices >= 0]).all(),
            f"{what}: expected finite scores, got NaN or infinity",
        )


def check_filters(subject: Subject) -> None:
    """Nothing that is seen, excluded, denied or not allowed is ever recommended, and filters combine."""
    model = subject.fitted
    n_items = len(model.items)
    seen = model.histories.to_csr(n_items).toarray() > 0
    rng = np.random.default_rng(3)
    exclude = rng.random(seen.shape) < 0.3
    some = np.sort(rng.choice(n_items, n_items // 3, replace=False))
    others = some[::2]
    in_some, in_others = (np.isin(np.arange(n_items), listed) for listed in (some, others))
    nothing = np.zeros(0, np.int64)
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"filter_seen": True}, ~seen),
        ({"filter_seen": False, "exclude": _csr(exclude)}, ~exclude),
        ({"filter_seen": True, "exclude": _csr(exclude)}, ~exclude & ~seen),
        ({"filter_seen": False, "deny": some}, ~in_some),
        ({"filter_seen": False, "allow": some}, in_some),
        ({"filter_seen": True, "allow": some, "deny": others}, in_some & ~in_others & ~seen),
        ({"filter_seen": False, "allow": nothing}, np.zeros(n_items, np.bool_)),
    ]
    for what, asked in questions(model).items():
        for filters, admissible in cases:
            indices = model.recommend_indices(**asked, **filters, k=n_items).indices
            forbidden = (indices >= 0) & ~np.take_along_axis(
                np.broadcast_to(admissible, seen.shape), np.maximum(indices, 0), axis=1
            )
            expect(
                not forbidden.any(),
                f"{what} with {', '.join(filters)}: item {indices[forbidden][:1]} must not be recommended",
            )
    user, first = model.users.ids[0], model.recommend(users=model.users.ids[:1], k=3)["item_id"].to_list()
    denied = model.recommend(users=[user], k=3, deny=first)["item_id"].to_list()
    expect(not set(denied) & set(first), f"recommend, deny={first}: got {denied}")
    allowed = model.recommend(users=[user], k=3, allow=first[1:])["item_id"].to_list()
    expect(set(allowed) <= set(first[1:]), f"recommend, allow={first[1:]}: got {allowed}")


def check_threads(subject: Subject) -> None:
    """The number of threads does not change an answer by a single bit."""
    model = subject.fitted
    for what, asked in questions(model).items():
        one = model.recommend_indices(**asked, k=10, n_threads=1)
        for n_threads in (2, 3):
            more = model.recommend_indices(**asked, k=10, n_threads=n_threads)
            same = np.array_equal(one.indices, more.indices) and one.scores.tobytes() == more.scores.tobytes()
            expect(same, f"{what}: {n_threads} threads give another answer than one")


def check_similar_items(subject: Subject) -> None:
    """``similar_items`` lists other items, best first, or raises ``DataError`` where the model relates none."""
    model = subject.fitted
    asked = model.items.ids[:3]
    try:
        table = model.similar_items(asked, k=4)
    except DataError:
        raise NotApplicable("it relates no items to each other") from None
    columns = ["item_id", "similar_item_id", "score", "rank"]
    expect(table.columns == columns, f"similar_items: expected columns {columns}, got {table.columns}")
    itself = table.filter(pl.col("item_id") == pl.col("similar_item_id"))
    expect(not len(itself), f"similar_items: item {itself['item_id'].head(1).to_list()} is listed as like itself")
    for item in asked:
        rows = table.filter(pl.col("item_id") == item)
        expect(len(rows) <= 4, f"similar_items: expected at most k=4 items for {item!r}, got {len(rows)}")
        expect(
            rows["rank"].to_list() == list(range(1, len(rows) + 1)),
            f"similar_items: ranks of {item!r} are not 1, 2, ...",
        )
        expect(rows["score"].is_sorted(descending=True), f"similar_items: scores of {item!r} rise")
    try:
        model.similar_items([STRANGER])
    except UnknownIdError:
        return
    raise CheckFailedError("similar_items: expected an UnknownIdError for an unknown item, got an answer")


def _check_unknown(model: Recommender, asked: dict[str, Any], known: dict[str, Any], what: str) -> None:
    try:
        model.recommend(**asked, k=5)
    except UnknownIdError:
        pass
    else:
        raise CheckFailedError(f"on_unknown='raise': expected an UnknownIdError for an unknown {what}, got an answer")
    expected = model.recommend(**known, k=5)
    for mode in ("warn", "ignore", "fallback"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = model.recommend(**asked, k=5, on_unknown=mode)
        warned = [str(warning.message) for warning in caught if f"unknown {what}" in str(warning.message)]
        expect(
            bool(warned) == (mode == "warn"), f"on_unknown={mode!r}: got {len(warned)} warnings of an unknown {what}"
        )
        if what == "user":
            table = table.filter(pl.col("user_id") != STRANGER)
        expect_same_tables(table, expected, model.items, f"on_unknown={mode!r} with an unknown {what}")


def _with_histories(subject: Subject) -> Recommender:
    model = subject.fitted
    if not model.form.accepts_histories:
        raise NotApplicable("it answers only for users it was trained on")
    return model


def _csr(mask: np.ndarray[Any, Any]) -> Any:
    import scipy.sparse as sp

    return sp.csr_matrix(mask.astype(np.float32))


def _first(wrong: np.ndarray[Any, Any]) -> Sequence[int]:
    return [int(row) for row in np.flatnonzero(wrong.any(axis=1))[:1]]
