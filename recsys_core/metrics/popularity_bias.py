"""Metrics of popularity bias: whether a model pushes what is popular, and whom its accuracy serves.

U_i are the training users who had item i; H is what the asker had before, R what is relevant, L the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys_core.errors import ConfigError
from recsys_core.metrics.contract import ListMetric

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.metrics.batch import RankedBatch

__all__ = ["PopularityLift", "StratifiedRecall"]


class PopularityLift(ListMetric):
    """How much more popular the list is than what the asker chose: ``mean_{i in L} |U_i| / mean_{i in H} |U_i| - 1``.

    Above 0 the model pushes people towards what is popular; 0 serves each at their own level; below 0 it digs deeper
    than they do.  Each user's own term of the group average popularity of Abdollahpouri et al., "The unfairness of
    popularity bias in recommendation", RMSE workshop at RecSys 2019, section 4.  Lower is taken as better.  Undefined
    for an empty list, and for whom nothing is known that anybody in training had.
    """

    name = "popularity_lift"
    higher_is_better = False

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Mean popularity of the list over that of the history, less 1."""
        popularity = batch.catalog.popularity.astype(np.float64)
        shown = np.where(batch.valid, popularity[batch.indices], 0.0).sum(axis=1) / _some(batch.valid.sum(axis=1))
        had = batch.had
        chosen = (had @ popularity) / _some(np.diff(had.indptr))
        return np.asarray(shown / _some(chosen) - 1.0, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class StratifiedRecall(ListMetric):
    r"""Recall in which an item counts less the more popular it is: ``sum_{L & R} w_i / sum_R w_i``.

    Weights are ``w_i = |U_i|**-power``.  What people were seen to have is popular beyond their taste, since it is what
    they were shown.  If the chance to be seen grows as ``|U_i|**power``, this estimates the recall over all that they
    like, seen or not (Steck, "Item popularity and recommendation accuracy", RecSys 2011, section 4).  Power 0 is the
    plain recall, 1 lets every item count alike, however often it is chosen.  An item without training users counts as
    one with a single user, and so does one that the model does not know.

    Parameters
    ----------
    power
        In [0, 1].

    Raises
    ------
    ConfigError
        ``power`` lies elsewhere.
    """

    power: float = 0.5
    name = "stratified_recall"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.power <= 1.0:
            raise ConfigError(f"power: expected a number in [0, 1], got {self.power!r}")

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Weight of the hits over that of the relevant items."""
        weights = np.maximum(batch.catalog.popularity, 1).astype(np.float64) ** -self.power
        known = batch.relevant.indices < len(weights)
        worth = np.ones(len(known))
        worth[known] = weights[batch.relevant.indices[known]]
        total = np.bincount(batch.relevant.rows(), weights=worth, minlength=batch.n_users)
        found = np.where(batch.hits, weights[batch.indices], 0.0).sum(axis=1)
        recall = np.zeros(batch.n_users)
        np.divide(found, total, out=recall, where=total > 0)
        return recall


def _some(counts: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """The numbers as a denominator: NaN for 0, so that a quotient without one is undefined."""
    return np.where(counts > 0, counts, np.nan).astype(np.float64)
