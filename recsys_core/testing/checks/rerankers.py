"""What every re-ranker promises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from recsys_core.data import Histories
from recsys_core.models import DotForm, FittedModel, Form, ItemItemForm, Reranker, StaticForm
from recsys_core.testing.checks.plugin import check_inert_plugin, expect_settings, expect_strict
from recsys_core.testing.data import block_interactions
from recsys_core.testing.outcome import expect
from recsys_core.testing.rankings import take
from recsys_core.testing.subject import Registered
from recsys_core.types import Ranking

__all__ = ["RERANKER_CHECKS", "RerankerSubject"]

POOL = 12
LENGTHS = (1, 5, POOL)


class Pool(NamedTuple):
    """What a re-ranker is given: which model's, the model, its ranking, and what the askers have had."""

    what: str
    model: FittedModel
    ranking: Ranking
    histories: Histories

    def rerank(self, reranker: Reranker, k: int, rows: slice = slice(None)) -> Ranking:
        """The re-ranker's choice of k for some of the rows."""
        asked = np.arange(len(self.histories))[rows]
        return reranker.rerank(take(self.ranking, rows), k, self.model, self.histories.rows(asked))


class RerankerSubject(Registered):
    """A re-ranker under test; ``factory(**settings)`` makes it."""

    kind = "reranker"

    def make(self, **changed: Any) -> Any:
        """A new re-ranker, with some settings changed."""
        return self.create(**{**self.settings, **changed})

    @cached_property
    def models(self) -> dict[str, FittedModel]:
        """One fitted model of each kind of score: factors, neighbours, and one score an item."""
        interactions = block_interactions()
        had = interactions.to_csr("binary").toarray()
        _, values, vectors = np.linalg.svd(had, full_matrices=False)
        item_factors = np.ascontiguousarray(vectors[:4].T * np.sqrt(values[:4]), np.float32)
        forms: dict[str, Form] = {
            "factors": DotForm(item_factors, None, np.ascontiguousarray(had @ item_factors, np.float32)),
            "neighbours": ItemItemForm((had.T @ had * (1 - np.eye(had.shape[1]))).astype(np.float32)),
            "one score an item": StaticForm(had.sum(axis=0).astype(np.float32)),
        }
        known = (interactions.users, interactions.items, interactions.histories())
        return {what: FittedModel(form, *known) for what, form in forms.items()}

    def pools(self) -> Iterator[Pool]:
        """Candidates of 8 users from each model: the second row is half padding, the third nothing else."""
        for what, model in self.models.items():
            found = model.recommend_indices(np.arange(8), k=POOL)
            indices, scores = found.indices.copy(), found.scores.copy()
            for row, length in ((1, POOL // 2), (2, 0)):
                indices[row, length:], scores[row, length:] = -1, -np.inf
            yield Pool(what, model, Ranking(indices, scores), model.histories.rows(np.arange(8)))


def check_reranker_contract(subject: RerankerSubject) -> None:
    """It can be made without settings, its settings are described, and an unknown one is refused."""
    reranker = subject.create()
    expect(isinstance(reranker, Reranker), f"factory: expected a Reranker, got {type(reranker).__name__}")
    expect_settings(reranker.config, subject.entry)
    expect_strict(subject.make)


def check_choice(subject: RerankerSubject) -> None:
    """Each row holds k of its own candidates, each once, with the scores that the model gave them, then padding."""
    for pool in subject.pools():
        for k in LENGTHS:
            chosen = pool.rerank(subject.make(), k)
            where = f"{pool.what}, k={k}"
            got = [f"{array.dtype} {array.shape}" for array in chosen]
            expected = [f"int64 (8, {k})", f"float32 (8, {k})"]
            expect(got == expected, f"{where}: expected {' and '.join(expected)}, got {' and '.join(got)}")
            for row in range(8):
                _expect_choice(pool.ranking, chosen, row, f"{where}, row {row}")


def check_rows_are_independent(subject: RerankerSubject) -> None:
    """A row's order does not depend on the other rows."""
    for pool in subject.pools():
        together = pool.rerank(subject.make(), 5)
        for row in range(8):
            alone = pool.rerank(subject.make(), 5, slice(row, row + 1))
            _expect_equal(alone, take(together, slice(row, row + 1)), f"{pool.what}: row {row} asked for alone")


def check_repeatable(subject: RerankerSubject) -> None:
    """The same candidates are ordered the same way again, and are left as they were."""
    for pool in subject.pools():
        before = Ranking(pool.ranking.indices.copy(), pool.ranking.scores.copy())
        reranker = subject.make()
        first = pool.rerank(reranker, 5)
        _expect_equal(pool.rerank(reranker, 5), first, f"{pool.what}: asked twice")
        _expect_equal(pool.rerank(subject.make(), 5), first, f"{pool.what}: asked of another of the same settings")
        _expect_equal(pool.ranking, before, f"{pool.what}: the candidates themselves, which it must not change")


def _expect_choice(pool: Ranking, chosen: Ranking, row: int, where: str) -> None:
    candidates = pool.indices[row][pool.indices[row] >= 0]
    score_of = dict(zip(pool.indices[row].tolist(), pool.scores[row].tolist(), strict=True))
    items = chosen.indices[row]
    there = items >= 0
    n_expected = min(len(items), len(candidates))
    expect(
        there.sum() == n_expected and there[:n_expected].all(),
        f"{where}: expected {n_expected} items, then -1, got {items}",
    )
    expect(len(set(items[there].tolist())) == n_expected, f"{where}: expected each item once, got {items}")
    strange = sorted(set(items[there].tolist()) - set(candidates.tolist()))
    expect(not strange, f"{where}: expected candidates only, got items {strange}")
    kept = [score_of.get(item, -np.inf) for item in items[there].tolist()] + [-np.inf] * int((~there).sum())
    expect(
        np.array_equal(chosen.scores[row], np.array(kept, np.float32)),
        f"{where}: expected the model's scores, then -inf, got {chosen.scores[row]}",
    )


def _expect_equal(got: Ranking, expected: Ranking, what: str) -> None:
    same = np.array_equal(got.indices, expected.indices) and np.array_equal(got.scores, expected.scores)
    expect(same, f"{what}: expected items {expected.indices[:3]}, got {got.indices[:3]}")


RERANKER_CHECKS = (
    check_inert_plugin,
    check_reranker_contract,
    check_choice,
    check_rows_are_independent,
    check_repeatable,
)
"""All checks of a re-ranker, in the order in which they run."""
