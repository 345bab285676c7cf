"""Small synthetic data with a known structure, from which the checks draw.

Users and items belong to blocks; most of what a user has comes from their own block.  Within a block, items follow
Zipf's law, and so do the numbers of events a user has: a few have many, most have few, some a single one.  A model of
tastes must find the blocks, and one score an item must find the popular items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys_core.data import Interactions
from recsys_core.types import FloatArray, IndexArray

__all__ = ["HeldOut", "block_frame", "block_interactions", "described_users", "held_out_items"]

FIRST_EVENT = 1_700_000_000


def affinities(n_users: int, n_items: int, n_blocks: int, loyalty: float = 0.9) -> FloatArray:
    """Probability that a user's next event is an item, float32 (n_users, n_items), rows summing to 1.

    User and item *n* belong to block *n* mod ``n_blocks``.  A share ``loyalty`` of the events falls on the own block,
    where the *r*-th item has a weight of 1 / r; the rest falls on all items in proportion to the same weights.
    """
    popularity = 1.0 / (1.0 + np.arange(n_items) // n_blocks)
    popularity /= popularity.sum()
    inside = same_block(n_users, n_items, n_blocks) * popularity
    inside /= inside.sum(axis=1, keepdims=True)
    chances: FloatArray = (loyalty * inside + (1 - loyalty) * popularity).astype(np.float32)
    return chances


def same_block(n_users: int, n_items: int, n_blocks: int) -> npt.NDArray[np.bool_]:
    """Whether a user and an item are of one block, bool (n_users, n_items)."""
    same: npt.NDArray[np.bool_] = np.arange(n_users)[:, None] % n_blocks == np.arange(n_items) % n_blocks
    return same


def block_frame(
    n_users: int = 60,
    n_items: int = 40,
    n_blocks: int = 4,
    *,
    events_a_user: float = 6.0,
    loyalty: float = 0.9,
    random_state: int = 0,
) -> pl.DataFrame:
    """Draw events as a table.

    Parameters
    ----------
    n_users, n_items
        Ids run from 0; each occurs at least once.
    n_blocks
        Groups of users of one taste.
    events_a_user
        About the mean number of events; the *r*-th user has a number in proportion to 1 / r, from 1 to ``n_items``.
    loyalty
        Share of the events that falls on the user's own block.
    random_state
        Seed.

    Returns
    -------
    polars.DataFrame
        ``user_id`` int64, ``item_id`` int64, ``weight`` float64, 4 or 5 in the user's own block and 1 or 2 elsewhere,
        ``datetime`` int64 seconds, no two alike.  Repeated events of a pair occur.
    """
    rng = np.random.default_rng(random_state)
    activity = 1.0 / (1.0 + rng.permutation(n_users))
    counts = np.clip(np.round(activity / activity.mean() * events_a_user), 1, n_items).astype(np.int64)
    chances = affinities(n_users, n_items, n_blocks, loyalty).astype(np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([rng.choice(n_items, n, p=row) for n, row in zip(counts, chances, strict=True)])
    # One more event for each item that chance left out, by a user of its block.
    unseen = np.setdiff1d(np.arange(n_items), items)
    users, items = np.concatenate([users, unseen % n_users]), np.concatenate([items, unseen])
    order = rng.permutation(len(users))
    weights = np.where(users % n_blocks == items % n_blocks, 4.0, 1.0) + rng.integers(0, 2, len(users))
    return pl.DataFrame(
        {
            "user_id": users[order],
            "item_id": items[order],
            "weight": weights[order],
            "datetime": FIRST_EVENT + rng.permutation(len(users)) * 60,
        }
    )


def block_interactions(
    n_users: int = 60,
    n_items: int = 40,
    n_blocks: int = 4,
    *,
    events_a_user: float = 6.0,
    loyalty: float = 0.9,
    random_state: int = 0,
) -> Interactions:
    """The events of :func:`block_frame` as :class:`~recsys_core.data.Interactions`, a new object at each call.

    Examples
    --------
    >>> block_interactions(n_users=6, n_items=4, n_blocks=2, events_a_user=3.0)
    Interactions(14 events, 6 users, 4 items, 2023-11-14 to 2023-11-14)
    """
    frame = block_frame(
        n_users, n_items, n_blocks, events_a_user=events_a_user, loyalty=loyalty, random_state=random_state
    )
    return Interactions.from_frame(frame, time_unit="s")


def described_users() -> Interactions:
    """The events of :func:`block_interactions`, and each user's ``town``, which tells the block, and ``age``."""
    interactions = block_interactions()
    ids = interactions.users.ids
    ages = np.random.default_rng(0).uniform(18.0, 80.0, len(ids))
    people = pl.DataFrame({"user_id": ids, "town": [f"town {user % 4}" for user in ids], "age": ages})
    return interactions.with_features(user_features=people)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Training data, and for each user one item that they had and that is not in it.

    Attributes
    ----------
    train
        What to fit on.
    item_index
        int64 (n_users,): the held-out item's position in ``train.items``.
    chances
        float32 (n_users, n_items): the probabilities from which the item was drawn, 0 for what the user had.
    same_block
        bool (n_users, n_items): whether the item is of the user's block.
    """

    train: Interactions
    item_index: IndexArray
    chances: FloatArray
    same_block: npt.NDArray[np.bool_]


def held_out_items(
    n_users: int = 240, n_items: int = 80, n_blocks: int = 4, *, loyalty: float = 0.75, random_state: int = 1
) -> HeldOut:
    """Draw training data and one further item a user, among those they have not had, by the same probabilities.

    All users and items occur in training, so that positions and ids agree.
    """
    train = block_interactions(
        n_users, n_items, n_blocks, events_a_user=24.0, loyalty=loyalty, random_state=random_state
    )
    rng = np.random.default_rng(random_state + 1)
    chances = affinities(n_users, n_items, n_blocks, loyalty).astype(np.float64)
    chances[train.to_csr("binary").toarray() > 0] = 0.0
    chances /= chances.sum(axis=1, keepdims=True)
    item_index = np.array([rng.choice(n_items, p=row) for row in chances], np.int64)
    return HeldOut(train, item_index, chances.astype(np.float32), same_block(n_users, n_items, n_blocks))
