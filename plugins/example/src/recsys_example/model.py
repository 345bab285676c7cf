"""A recommender of what tends to follow."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recsys_core import Config, Interactions, ItemItemForm, Recommender
from recsys_core.models import Progress

__all__ = ["NextItem", "NextItemConfig"]


class NextItemConfig(Config):
    """Settings of :class:`NextItem`."""

    window: int = Field(3, ge=1, description="How many places ahead an item counts as following another.")


class NextItem(Recommender):
    r"""Recommend what tends to follow the items of a history.

    .. math:: s_i = \sum_{j \in h} W_{ji}, \qquad W_{ji} \propto \sum_{u} \sum_{p < q \le p + w} \frac{1}{q - p}
        \;[h_{up} = j,\; h_{uq} = i]

    with rows of *W* that add up to 1, where :math:`h_{up}` is the item at place *p* of the history of user *u*, and *w*
    is the window.

    Parameters
    ----------
    **settings
        Fields of :class:`NextItemConfig`.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> visits = Interactions.from_arrays(["ann", "ann", "bob", "bob"], ["soup", "cake", "soup", "tea"])
    >>> NextItem().fit(visits).recommend(histories=["soup"])["item_id"].to_list()
    ['cake', 'tea']
    """

    config_class = NextItemConfig
    config: NextItemConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> ItemItemForm:
        """Count what follows what."""
        histories = interactions.histories()
        item, user = histories.indices, np.repeat(np.arange(len(histories)), histories.lengths)
        before, after, weight = [], [], []
        for ahead in range(1, self.config.window + 1):
            same_user = user[ahead:] == user[:-ahead]
            before.append(item[:-ahead][same_user])
            after.append(item[ahead:][same_user])
            weight.append(np.full(len(before[-1]), 1 / ahead, np.float32))
            progress(ahead, self.config.window)
        pairs = (np.concatenate(weight), (np.concatenate(before), np.concatenate(after)))
        follows = sp.csr_matrix(pairs, shape=(interactions.n_items, interactions.n_items))  # adds up repeated pairs
        total = np.asarray(follows.sum(axis=1)).ravel()
        follows.data /= np.repeat(total, np.diff(follows.indptr))
        return ItemItemForm(follows)
