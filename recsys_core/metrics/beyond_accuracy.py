"""Metrics of what is recommended, whoever finds it relevant: novelty, popularity, diversity, coverage, concentration.

Padded places never count.  U is the set of training users, U_i those who had item i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from recsys_core.data.concentration import gini
from recsys_core.errors import ConfigError, ShapeError
from recsys_core.metrics.contract import ListMetric, PopulationMetric
from recsys_core.metrics.similarity import ListSimilarity, dense_list_similarity

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.metrics.batch import Population, RankedBatch
    from recsys_core.types import CSR

__all__ = ["Coverage", "Diversity", "Gini", "MeanPopularity", "Novelty"]


class Novelty(ListMetric):
    """Mean self-information of the recommended items, in bits: ``mean_{i in L} -log2(|U_i| / |U|)``.

    The popularity-based novelty of Vargas and Castells, "Rank and relevance in novelty and diversity metrics for
    recommender systems", RecSys 2011 (without rank discount or relevance).  An item without training
    interactions counts as if one user had had it, which keeps the value finite.  Undefined for an empty list.
    """

    name = "novelty"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Mean self-information."""
        popularity = np.maximum(batch.catalog.popularity, 1)
        return _mean_over_list(np.log2(batch.catalog.n_users / popularity), batch)


class MeanPopularity(ListMetric):
    """Mean number of training users who had the recommended items: ``mean_{i in L} |U_i|``.

    The average recommendation popularity of Yin et al., "Challenging the long tail recommendation", VLDB 2012.
    Lower is taken as better: less popularity bias.  Undefined for an empty list.
    """

    name = "mean_popularity"
    higher_is_better = False

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Mean popularity."""
        return _mean_over_list(batch.catalog.popularity.astype(np.float64), batch)


@dataclass(frozen=True, kw_only=True, eq=False)
class Diversity(ListMetric):
    """Mean distance of the pairs within a list: ``mean_{i != j in L} 1 - cos(v_i, v_j)``.

    The intra-list distance of Ziegler et al., "Improving recommendation lists through topic diversification",
    WWW 2005, with cosine.  Undefined for a list of fewer than two items.

    Parameters
    ----------
    vectors
        Array or CSR, shape (n_items, d): one row for each of the *model's* items, in its order; a zero row is at
        distance 1 from all others.  By default v_i marks the training users who had the item, so that
        ``cos = |U_i & U_j| / sqrt(|U_i| |U_j|)``: items are alike when the same people have them.
    name
        The name in reports; give another to measure several kinds of vectors at once.

    Notes
    -----
    Dense vectors cost O(k d) a list.  Sparse ones, hence the default, cost the co-occurrence counts of the
    recommended items once (up to ``sum_u n_u**2`` for users with n_u such items), then O(k**2) a list; at most
    256 MiB of products are kept.
    """

    vectors: npt.NDArray[Any] | CSR | None = None
    name: str = "diversity"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vectors is not None and len(getattr(self.vectors, "shape", ())) != 2:
            raise ConfigError(
                f"vectors: expected an array or a CSR matrix of shape (n_items, d), got {type(self.vectors).__name__}"
            )

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Mean intra-list distance."""
        if self.vectors is None:
            return 1.0 - batch.catalog.co_occurrence.mean_per_list(batch.indices)
        if self.vectors.shape[0] != batch.catalog.n_items:
            raise ShapeError(
                f"vectors: expected one row for each of the model's {batch.catalog.n_items} items, "
                f"got shape {self.vectors.shape}"
            )
        if isinstance(self.vectors, np.ndarray):
            return 1.0 - dense_list_similarity(self.vectors, batch.indices)
        return 1.0 - self._kept_products.mean_per_list(batch.indices)

    # Vectors are compared by identity: equality of arrays is neither cheap nor a single truth value.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Diversity):
            return NotImplemented
        return self.vectors is other.vectors and (self.k, self.name) == (other.k, other.name)

    def __hash__(self) -> int:
        return hash((self.k, self.name, id(self.vectors)))

    @cached_property
    def _kept_products(self) -> ListSimilarity:
        return ListSimilarity(cast("CSR", self.vectors))


class Coverage(PopulationMetric):
    """Share of the catalogue that is recommended to at least one user: ``|union of L| / n_items``."""

    name = "coverage"

    def value(self, population: Population) -> float:
        """Share of items with any exposure."""
        return float(np.mean(population.exposure > 0))


class Gini(PopulationMetric):
    """Gini coefficient of exposure over the catalogue: 0 when all items are recommended equally often.

    With x the exposures in ascending order, ``sum_r (2 r - n - 1) x_r / (n sum x)``, r = 1..n; at most 1 - 1/n, when
    one item has it all.  Items never recommended take part.  Lower is better.  NaN when nothing was recommended.
    """

    name = "gini"
    higher_is_better = False

    def value(self, population: Population) -> float:
        """Concentration of exposure."""
        return gini(population.exposure)


def _mean_over_list(item_values: npt.NDArray[np.float64], batch: RankedBatch) -> npt.NDArray[np.float64]:
    """Mean of a value of the items over the list, NaN where the list is empty."""
    lengths = batch.valid.sum(axis=1)
    totals = np.where(batch.valid, item_values[batch.indices], 0.0).sum(axis=1)
    means = np.full(batch.n_users, np.nan)
    np.divide(totals, lengths, out=means, where=lengths > 0)
    return means
