"""The check that a model has learned something."""

from __future__ import annotations

import numpy as np

from recsys_core.models import StaticForm
from recsys_core.testing.data import HeldOut, held_out_items
from recsys_core.testing.outcome import expect
from recsys_core.testing.subject import Subject
from recsys_core.types import IndexArray, Ranking

__all__ = ["check_quality"]

K = 10
STANDARD_ERRORS = 2.0
LEAST_TASTE = 0.7


def check_quality(subject: Subject) -> None:
    """On data with planted tastes it finds them, or what is popular, and does no better than the truth could.

    Notes
    -----
    A model that answers each user apart must place the items of their taste above others: of all pairs of an item of
    their block and one of another, both new to them, at least 0.7 must be in that order, where chance and popularity
    have 0.5 and the truth has 1.  Models of choices and models of ratings can both do this.

    A model that gives each item one score for everybody is judged by its hit rate at 10 over one held-out item a user,
    which must exceed that of a random order.  No model's hit rate can exceed that of the probabilities the data were
    drawn from; one that seems to has seen the answers.  Hit rates have a margin of two standard errors.
    """
    held_out = held_out_items()
    model = subject.fit(held_out.train)
    n_users, n_items = held_out.chances.shape
    ranking = model.recommend_indices(np.arange(n_users), k=n_items)

    hits, truth = _hit_rate(held_out, ranking.indices), _hit_rate(held_out, np.argsort(-held_out.chances, axis=1))
    most = truth + _margin(truth, n_users)
    expect(hits <= most, f"hit rate at {K}: expected at most {most:.3f}, as the truth has {truth:.3f}, got {hits:.3f}")
    if isinstance(model.form, StaticForm):
        n_new = n_items - model.histories.to_csr(n_items).getnnz(axis=1)
        chance = float(np.minimum(1.0, K / n_new).mean())
        least = chance + _margin(chance, n_users)
        expect(
            hits > least, f"hit rate at {K}: expected more than {least:.3f}, chance being {chance:.3f}, got {hits:.3f}"
        )
    else:
        taste = _taste(held_out, ranking)
        expect(
            taste >= LEAST_TASTE,
            f"share of pairs ordered by taste: expected at least {LEAST_TASTE}, chance being 0.5, got {taste:.3f}",
        )


def _hit_rate(held_out: HeldOut, indices: IndexArray) -> float:
    return float((indices[:, :K] == held_out.item_index[:, None]).any(axis=1).mean())


def _margin(rate: float, n: int) -> float:
    return STANDARD_ERRORS * float(np.sqrt(rate * (1 - rate) / n))


def _taste(held_out: HeldOut, ranking: Ranking) -> float:
    """Mean over users of the share of (own block, other block) pairs in the right order; ties count half."""
    shares = []
    for user, (indices, scores) in enumerate(zip(*ranking, strict=True)):
        own = held_out.same_block[user][indices[indices >= 0]]
        mine, others = scores[indices >= 0][own], scores[indices >= 0][~own]
        if len(mine) and len(others):
            right = (mine[:, None] > others) + 0.5 * (mine[:, None] == others)
            shares.append(right.mean())
    return float(np.mean(shares)) if shares else 0.0
