"""Metrics of accuracy: how many of the relevant items a list holds, and how high.

Notation: R is the set of items relevant to the user (those the model does not know included), L the first k items of
the list, hit(r) is 1 if the item at place r = 1..k is in R.  Definitions are those of trec_eval, as implemented by
ranx (Bassani, "ranx: A Blazing-Fast Python Library for Ranking Evaluation and Comparison", ECIR 2022); each class
says where there is a choice.  A user with no relevant item scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recsys_core.errors import ConfigError, DataError
from recsys_core.metrics.contract import ListMetric

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.metrics.batch import RankedBatch

__all__ = ["MAP", "MRR", "NDCG", "HitRate", "Precision", "Recall"]


@dataclass(frozen=True, kw_only=True)
class Recall(ListMetric):
    """Share of the relevant items that the list holds: ``|L & R| / |R|``.

    Parameters
    ----------
    capped
        Divide by ``min(k, |R|)`` instead, so that 1 can be reached with any k (Liang et al., "Variational
        Autoencoders for Collaborative Filtering", WWW 2018, and the tables that follow it).  Reported as
        ``recall_capped``.
    """

    capped: bool = False

    @property
    def name(self) -> str:
        """``recall`` or ``recall_capped``."""
        return "recall_capped" if self.capped else "recall"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Hits over relevant items."""
        denominator = np.minimum(batch.n_relevant, batch.k) if self.capped else batch.n_relevant
        return _ratio(batch.hits.sum(axis=1), denominator)


class Precision(ListMetric):
    """Share of the k places that hold a relevant item: ``|L & R| / k``; a short list is still divided by k."""

    name = "precision"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Hits over places."""
        return np.asarray(batch.hits.sum(axis=1) / batch.k, dtype=np.float64)


class HitRate(ListMetric):
    """1 if the list holds any relevant item, else 0."""

    name = "hit_rate"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Whether there is a hit."""
        return np.asarray(batch.hits.any(axis=1), dtype=np.float64)


class MRR(ListMetric):
    """Reciprocal of the place of the first relevant item: ``1 / min{r : hit(r)}``, 0 without a hit."""

    name = "mrr"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Reciprocal rank."""
        first = batch.hits.argmax(axis=1)
        return np.asarray(batch.hits.any(axis=1) / (first + 1), dtype=np.float64)


class MAP(ListMetric):
    """Average precision: ``sum_r hit(r) P(r) / |R|`` with P(r) the precision of the first r places.

    The denominator is the number of relevant items, as in trec_eval and ranx, so with ``|R| > k`` the best possible
    value lies below 1.  (Others divide by ``min(k, |R|)``.)
    """

    name = "map"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Average precision."""
        hits = batch.hits
        precision = hits.cumsum(axis=1) / np.arange(1, batch.k + 1)
        return _ratio((precision * hits).sum(axis=1), batch.n_relevant)


@dataclass(frozen=True, kw_only=True)
class NDCG(ListMetric):
    """Normalised discounted cumulative gain: ``DCG / IDCG`` with ``DCG = sum_r gain(r) / log2(r + 1)``.

    IDCG is the DCG of the best list possible: the ``min(k, |R|)`` most relevant items in order (Järvelin and
    Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002).

    Parameters
    ----------
    gain
        What a relevant item of weight w is worth: ``"binary"`` 1; ``"linear"`` w (reported as ``ndcg_linear``);
        ``"exponential"`` ``2**w - 1`` (Burges et al., ICML 2005; reported as ``ndcg_exponential``).

    Raises
    ------
    DataError
        When evaluated with a graded gain on weights that are negative or not finite, or so large that
        ``2**w`` overflows.
    """

    gain: Literal["binary", "linear", "exponential"] = "binary"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gain not in ("binary", "linear", "exponential"):
            raise ConfigError(f"gain: expected 'binary', 'linear' or 'exponential', got {self.gain!r}")

    @property
    def name(self) -> str:
        """``ndcg``, ``ndcg_linear`` or ``ndcg_exponential``."""
        return "ndcg" if self.gain == "binary" else f"ndcg_{self.gain}"

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Discounted gain over the best possible."""
        discounts = 1.0 / np.log2(np.arange(2, batch.k + 2))
        if self.gain == "binary":
            best = np.concatenate([[0.0], discounts.cumsum()])
            return _ratio(batch.hits @ discounts, best[np.minimum(batch.n_relevant, batch.k)])
        return _ratio(self._gains(batch.weights) @ discounts, self._gains(batch.ideal_weights) @ discounts)

    def _gains(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Beyond 1000 the sum of a few gains leaves the range of float64 (2**1024).
        largest = np.inf if self.gain == "linear" else 1000.0
        if not np.all((weights >= 0.0) & (weights < largest)):
            raise DataError(
                f"test weights: {self.name} expects finite weights from 0 up"
                f"{'' if self.gain == 'linear' else ' to below 1000'}, got {weights.min():g} to {weights.max():g}; "
                "rescale the weights, or use the binary 'ndcg'"
            )
        return weights if self.gain == "linear" else np.exp2(weights) - 1.0


def _ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Quotient, 0 where the denominator is."""
    quotient = np.zeros(len(numerator))
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
