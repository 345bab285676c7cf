"""The most popular items, of all time or of late: the baseline that every model has to beat."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys_core import Config, Interactions, Recommender, StaticForm
from recsys_core.errors import DataError
from recsys_core.models import Progress, SearchChoices, Update
from recsys_core.types import FloatArray

__all__ = ["Popularity", "PopularityConfig"]

_MICROSECONDS_A_DAY = 86_400e6


class PopularityConfig(Config):
    """Settings of :class:`Popularity`."""

    by: Annotated[Literal["users", "events", "weights"], SearchChoices(("users", "events", "weights"))] = Field(
        "users",
        description="What to count: the users who had an item, its events (repeats count), or their weights.",
    )
    window_days: float | None = Field(
        None, gt=0, description="Count only the last so many days of the data; None for all of it."
    )
    half_life_days: Annotated[float | None, SearchChoices((None, 7.0, 30.0, 90.0, 365.0))] = Field(
        None, gt=0, description="Age at which an event counts for half; None for no decay."
    )


class Popularity(Recommender):
    r"""The most popular items, the same for everybody.

    .. math:: s_i = \sum_{e:\, i_e = i,\; T - t_e < D} w_e \, 2^{-(T - t_e) / H}

    over events *e* of item :math:`i_e` at time :math:`t_e`, where *T* is the time of the last event in the data, *D*
    is ``window_days`` and *H* is ``half_life_days``.  The weight :math:`w_e` is 1 with ``by="events"`` and that of the
    interaction with ``by="weights"``; with ``by="users"`` it is 1 for the last event of each user with an item and 0
    for those before it.

    Parameters
    ----------
    **settings
        Fields of :class:`PopularityConfig`.

    Attributes
    ----------
    scores_
        float32 (n_items,).

    Raises
    ------
    DataError
        By ``fit``: a window or a half-life is asked for and the interactions have no times.

    Notes
    -----
    O(n log n) time with ``by="users"``, O(n) otherwise.  An item that the window leaves out scores 0 and can still be
    recommended, after all others.

    ``partial_fit`` gives what ``fit`` on all interactions gives, in the same time, from the histories that the model
    keeps.  These have no times, so that it needs ``window_days`` and ``half_life_days`` to be None.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "bob", "eve", "eve"], ["tea", "tea", "rum", "rum"])
    >>> Popularity().fit(sales).scores_
    array([1., 2.], dtype=float32)
    >>> Popularity(by="events").fit(sales).scores_
    array([2., 2.], dtype=float32)
    """

    config_class = PopularityConfig
    config: PopularityConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> StaticForm:
        """Add up the events of each item."""
        weight = _event_weights(interactions, self.config)
        scores = np.bincount(interactions.item_index, weights=weight, minlength=interactions.n_items)
        progress(1, 1)
        return StaticForm(scores.astype(np.float32))

    def update_form(self, update: Update) -> StaticForm:
        """Count the new events, too."""
        for setting in ("window_days", "half_life_days"):
            if getattr(self.config, setting) is not None:
                raise DataError(
                    f"partial_fit: expected {setting} to be None, since the times of earlier events are not kept; fit "
                    "again on all interactions."
                )
        return self.fit_form(update.interactions(), lambda done, total, form=None: None)

    @property
    def scores_(self) -> FloatArray:
        """The items' scores, float32 (n_items,)."""
        return cast("StaticForm", self.form).scores


def _event_weights(interactions: Interactions, config: PopularityConfig) -> npt.NDArray[np.float64]:
    """What each event counts for, float64 (n_events,)."""
    if config.by == "weights":
        weight = interactions.weight.astype(np.float64)
    elif config.by == "events":
        weight = np.ones(len(interactions))
    else:
        weight = np.zeros(len(interactions))
        weight[_last_of_each_pair(interactions)] = 1.0
    if config.window_days is None and config.half_life_days is None:
        return weight
    if interactions.datetime is None:
        asked = "window_days" if config.window_days is not None else "half_life_days"
        raise DataError(f"interactions: expected times, since {asked} is set, got none; give a datetime column.")
    age_days = (interactions.datetime.max() - interactions.datetime) / _MICROSECONDS_A_DAY
    if config.window_days is not None:
        weight[age_days >= config.window_days] = 0.0
    if config.half_life_days is not None:
        weight *= np.exp2(-age_days / config.half_life_days)
    return weight


def _last_of_each_pair(interactions: Interactions) -> npt.NDArray[np.intp]:
    """Rows of the last event of each user with each item."""
    latest_first = interactions.time_order()[::-1]
    pair = interactions.user_index[latest_first].astype(np.int64) * interactions.n_items
    pair += interactions.item_index[latest_first]
    _, first = np.unique(pair, return_index=True)
    return latest_first[first]
