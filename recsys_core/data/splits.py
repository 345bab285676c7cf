"""Train and test parts of interactions.

Every split is a partition: each event lands in exactly one part, none is lost.  Each part has its own id maps
with only what occurs in it, so nothing of the test part reaches a model through the training part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.data.times import as_micros
from recsys_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datetime as dt

    import numpy.typing as npt

    from recsys_core.data.interactions import Interactions
    from recsys_core.types import IndexArray

__all__ = ["Split", "split_global_time", "split_leave_last", "split_random", "split_users"]


@dataclass(frozen=True)
class Split:
    """The parts of a split.

    Attributes
    ----------
    train
        What a model may be fitted on.
    test
        What it should then predict.
    history
        Only where the test users are not in ``train`` (:func:`split_users`): their earlier events, which the model
        is given when it is asked for recommendations.
    """

    train: Interactions
    test: Interactions
    history: Interactions | None = None

    def unknown_to_train(self) -> dict[str, int]:
        """Count what of the test part a model fitted on the training part cannot know.

        Returns
        -------
        dict
            ``test_users`` and ``unknown_users``, ``test_items`` and ``unknown_items``, ``test_events`` and
            ``unknown_item_events``, the events of unknown items, which no ranking of known items can hit;
            ``history_events`` and ``unknown_history_events``, the same of the histories.
        """
        return {
            "test_users": self.test.n_users,
            "unknown_users": int((self.train.users.index_of(self.test.users.ids) < 0).sum()),
            "test_items": self.test.n_items,
            "unknown_items": int((self.train.items.index_of(self.test.items.ids) < 0).sum()),
            "test_events": len(self.test),
            "unknown_item_events": self._events_of_unknown_items(self.test),
            "history_events": 0 if self.history is None else len(self.history),
            "unknown_history_events": 0 if self.history is None else self._events_of_unknown_items(self.history),
        }

    def _events_of_unknown_items(self, part: Interactions) -> int:
        unknown = self.train.items.index_of(part.items.ids) < 0
        return int(unknown[part.item_index].sum())


def split_random(
    interactions: Interactions, *, test_fraction: float = 0.2, per_user: bool = True, random_state: int = 0
) -> Split:
    """Hold out a random part of the user-item pairs.

    Parameters
    ----------
    interactions
        The events to split.
    test_fraction
        Share of the pairs to hold out, in (0, 1).
    per_user
        If True, of each user's pairs, rounded to the nearest number and never all of them: each user stays in
        ``train``.  If False, of all pairs, and a user may end up in ``test`` only.
    random_state
        Seed; the same seed gives the same split, whatever the order of the rows.

    Returns
    -------
    Split
        All events of a pair are in one part: otherwise a test item would be one that the user has seen.

    Raises
    ------
    DataError
        If a part would be empty.
    """
    _check_fraction("test_fraction", test_fraction)
    cells = interactions.user_index.astype(np.int64) * interactions.n_items + interactions.item_index
    pairs, pair_of_row = np.unique(cells, return_inverse=True)
    draws = np.random.default_rng(random_state).random(len(pairs))
    # Within a group, here a user or the whole, the pairs with the smallest draws are held out.
    group = pairs // interactions.n_items if per_user else np.zeros(len(pairs), dtype=np.int64)
    order = np.lexsort((draws, group))
    rank, size = _rank_and_size(group[order])
    in_test = np.zeros(len(pairs), dtype=bool)
    in_test[order] = rank < np.minimum(_round(size * test_fraction), size - 1)
    return _split(interactions, in_test[pair_of_row], f"test_fraction={test_fraction}")


def split_leave_last(interactions: Interactions, n: int = 1) -> Split:
    """Hold out each user's last events.

    Parameters
    ----------
    interactions
        The events to split; without times, their row order counts as the time order, as it does for equal times.
    n
        How many events of each user, at least 1.  Users with no more than ``n`` stay in ``train`` whole.

    Returns
    -------
    Split
        A user who comes back to an item may have it in both parts.

    Raises
    ------
    DataError
        If no user has more than ``n`` events.
    """
    if n < 1:
        raise ConfigError(f"n: expected at least 1, got {n}")
    order = interactions.time_order()
    rank, size = _rank_and_size(interactions.user_index[order])
    in_test = np.zeros(len(interactions), dtype=bool)
    in_test[order] = (size > n) & (rank >= size - n)
    return _split(interactions, in_test, f"n={n}")


def split_global_time(
    interactions: Interactions,
    *,
    test_fraction: float | None = None,
    at: dt.datetime | dt.date | str | np.datetime64 | None = None,
) -> Split:
    """Hold out everything from one moment on, for all users: what a model in production faces.

    Parameters
    ----------
    interactions
        The events to split; their times must be known.
    test_fraction
        Share of the events to hold out, 0.2 if neither this nor ``at`` is given.  Events of one time stay
        together, so the share may differ.
    at
        First moment of the test part: a datetime (without a zone: UTC), a date or an ISO 8601 string.

    Returns
    -------
    Split
        Every event of ``train`` is earlier than every event of ``test``.  Users and items that appear later are
        in ``test`` only; :meth:`Split.unknown_to_train` counts them.

    Raises
    ------
    DataError
        If there are no times, or a part would be empty.
    ConfigError
        If both ``test_fraction`` and ``at`` are given.
    """
    times = interactions.datetime
    if times is None:
        raise DataError(
            'interactions: expected times to split at, got none; name their column, columns={"datetime": ...}, or '
            "use split_leave_last, for which the order of the rows will do"
        )
    if at is not None and test_fraction is not None:
        raise ConfigError(f"test_fraction, at: expected one of them, got {test_fraction} and {at!r}")
    if at is not None:
        return _split(interactions, times >= as_micros(at, "at"), f"at={at!r}")
    test_fraction = 0.2 if test_fraction is None else test_fraction
    _check_fraction("test_fraction", test_fraction)
    ascending = np.sort(times)
    cut = ascending[len(times) - max(1, int(_round(len(times) * test_fraction)))]
    if cut == ascending[0]:  # so many events at the first time that only a later cut leaves a training part
        later = np.searchsorted(ascending, cut, side="right")
        cut = ascending[later] if later < len(ascending) else cut + 1
    return _split(interactions, times >= cut, f"test_fraction={test_fraction}")


def split_users(
    interactions: Interactions, *, test_fraction: float = 0.2, history_fraction: float = 0.8, random_state: int = 0
) -> Split:
    """Hold out whole users, to see how well a model serves people that it was not fitted on.

    Parameters
    ----------
    interactions
        The events to split.
    test_fraction
        Share of the users to hold out, in (0, 1), among those with at least two events.
    history_fraction
        Share of a held-out user's events, the earliest ones, that the model is given, in (0, 1); at least one
        event goes to each side.
    random_state
        Seed; the same seed gives the same users, whatever the order of the rows.

    Returns
    -------
    Split
        ``train`` has the other users; ``history`` and ``test`` the held-out users' earlier and later events.

    Raises
    ------
    DataError
        If fewer than two users, or none with two events, are there.
    """
    _check_fraction("test_fraction", test_fraction)
    _check_fraction("history_fraction", history_fraction)
    n_events = np.bincount(interactions.user_index, minlength=interactions.n_users)
    eligible = np.flatnonzero(n_events >= 2)
    n_active = int((n_events > 0).sum())
    if not len(eligible) or n_active < 2:
        raise DataError(
            f"interactions: expected at least two users, one of them with two events, got {n_active} users, "
            f"{len(eligible)} with two events; choose another split"
        )
    n_test = min(max(1, int(_round(len(eligible) * test_fraction))), n_active - 1)
    held_out = np.zeros(interactions.n_users, dtype=bool)
    held_out[np.random.default_rng(random_state).permutation(eligible)[:n_test]] = True

    order = interactions.time_order()
    rank, size = _rank_and_size(interactions.user_index[order])
    early = np.zeros(len(interactions), dtype=bool)
    early[order] = rank < np.clip(_round(size * history_fraction), 1, size - 1)
    of_test_user = held_out[interactions.user_index]
    return Split(
        train=interactions.select(~of_test_user),
        test=interactions.select(of_test_user & ~early),
        history=interactions.select(of_test_user & early),
    )


def _check_fraction(argument: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{argument}: expected a number in (0, 1), got {value}")


def _round(values: Any) -> npt.NDArray[np.int64]:
    # Half upwards; np.rint would round 0.5 to 0 and 1.5 to 2.
    return np.floor(np.asarray(values) + 0.5).astype(np.int64)


def _rank_and_size(group: npt.NDArray[Any]) -> tuple[IndexArray, IndexArray]:
    """Return each row's position in its group and the group's size; rows of a group must be adjacent."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(starts, len(group)))
    return np.arange(len(group)) - np.repeat(starts, sizes), np.repeat(sizes, sizes)


def _split(interactions: Interactions, in_test: npt.NDArray[np.bool_], setting: str) -> Split:
    n_test = int(in_test.sum())
    if n_test in (0, len(in_test)):
        part = "test" if n_test == 0 else "train"
        raise DataError(
            f"{setting}: expected events in both parts, got none in {part} out of {len(in_test)}; change the setting"
        )
    return Split(train=interactions.select(~in_test), test=interactions.select(in_test))
