"""Calibrated recommendations: lists that mirror the mix of what their readers chose."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from pydantic import Field

from recsys_classic.pool import check_k, relevance, take
from recsys_core import Config, FittedModel
from recsys_core.data import FeatureEncoder, Histories
from recsys_core.errors import ConfigError, DataError
from recsys_core.metrics import category_mix, category_shares, divergence, popularity_strata
from recsys_core.models import Reranker
from recsys_core.types import CSR, IndexArray, Ranking

__all__ = ["Calibrated", "CalibratedConfig"]

_NUMBERS = 1 << 23  # shares of candidates looked at at a time: 64 MB


class CalibratedConfig(Config):
    """Settings of :class:`Calibrated`."""

    column: str | None = Field(
        None,
        description="Feature of the items whose mix is kept, such as genres; by default how popular they are: head, "
        "middle or tail.",
    )
    trade_off: float = Field(
        0.5, ge=0, le=1, description="Lambda: 0 keeps the model's order, 1 looks at the mix alone."
    )
    smoothing: float = Field(0.01, gt=0, lt=1, description="Share of the target mixed into the list's mix.")


class Calibrated(Reranker):
    r"""Calibrated recommendations.

    Fill the list one by one, each time with the candidate

    .. math:: \arg\max_{i \notin S} \; (1 - \lambda) \sum_{j \in S \cup i} \mathrm{rel}(j)
              - \lambda\, \mathrm{KL}\bigl(p \,\|\, q_{S \cup i}\bigr)

    where *S* are the items chosen so far, *p* is the mix of categories of what the asker has had and *q* that of the
    list, smoothed as in :class:`recsys_core.metrics.Miscalibration`, which measures what this aims at.  The relevance
    is the model's score, mapped linearly to [0, 1] over the row's candidates.  Without a column the categories are
    strata of popularity, so that those who like the rare are not pushed to what is popular.

    Parameters
    ----------
    **settings
        Fields of :class:`CalibratedConfig`.

    Notes
    -----
    O(k P c) a query for a pool of P candidates and c categories.  Ties go to the candidate that the model ranks higher.
    Whoever has had nothing with a category gets the model's order.

    References
    ----------
    H. Steck, "Calibrated recommendations", RecSys 2018, section 3.  The mapping of the scores is ours.

    Examples
    --------
    >>> import polars as pl
    >>> from recsys_core import Interactions, create, create_reranker
    >>> films = pl.DataFrame({"item_id": list("abcdef"), "genre": ["war", "war", "war", "war", "love", "love"]})
    >>> views = Interactions.from_arrays(list("uuvvwx"), list("aebcde")).with_features(films, cold_items=True)
    >>> popular = create("popularity").fit(views)
    >>> half = popular.reranked(create_reranker("calibrated", column="genre"))
    >>> half.recommend(histories=[["a", "e"]], k=2)["item_id"].to_list()
    ['b', 'f']
    """

    config_class = CalibratedConfig
    config: CalibratedConfig

    def rerank(self, pool: Ranking, k: int, model: FittedModel, histories: Histories) -> Ranking:
        """Choose and order k of each row's candidates.

        Raises
        ------
        ConfigError
            ``k`` is not between 1 and the pool's width; or the model's items have no such column, or, without a column,
            it keeps no users whose histories would say how popular they are.
        DataError
            The column holds numbers or times, which are no categories.
        """
        check_k(k, pool)
        n_queries, width = pool.indices.shape
        shares = self._shares(model)
        had = histories.to_csr(len(model.items))
        had.data[:] = 1.0
        places = np.empty((n_queries, k), np.int64)
        step = max(1, _NUMBERS // (width * max(1, shares.shape[1])))
        for start in range(0, n_queries, step):
            rows = slice(start, start + step)
            part = Ranking(pool.indices[rows], pool.scores[rows])
            places[rows] = self._choose(part, shares, had[rows], k)
        return take(pool, places)

    def _choose(self, pool: Ranking, shares: CSR, had: CSR, k: int) -> IndexArray:
        """Places in the pool of the k chosen, int64 (n_queries, k)."""
        n_queries, width = pool.indices.shape
        candidate = shares[np.maximum(pool.indices, 0).ravel()].toarray().reshape(n_queries, width, -1)
        described = candidate.sum(axis=2) > 0
        target = category_mix(had, shares)
        known = ~np.isnan(target).any(axis=1, keepdims=True)
        target = np.where(known, target, 0.0)
        weight = np.where(known, self.config.trade_off, 0.0)
        # Padding comes after every candidate and before what was chosen already.
        gain = np.where(pool.indices >= 0, (1 - weight) * relevance(pool, np.float64), -1e30)
        rows = np.arange(n_queries)
        mix, count = np.zeros_like(target), np.zeros(n_queries)
        places = np.empty((n_queries, k), np.int64)
        for place in range(k):
            with_it = (mix[:, None] + candidate) / np.maximum(count[:, None] + described, 1)[:, :, None]
            value = gain - weight * divergence(target[:, None], with_it, self.config.smoothing)
            best = value.round(9).argmax(axis=1)  # errors of the last bits break no tie
            places[:, place] = best
            gain[rows, best] = -np.inf
            mix += candidate[rows, best]
            count += described[rows, best]
        return places

    def _shares(self, model: FittedModel) -> CSR:
        """What of each item belongs to each category, CSR (n_items, n_categories); made once a model."""
        kept: WeakKeyDictionary[FittedModel, CSR] = self.__dict__.setdefault("_kept", WeakKeyDictionary())
        if model not in kept:
            kept[model] = _categories(model, self.config.column)
        return kept[model]


def _categories(model: FittedModel, column: str | None) -> CSR:
    table = model.item_features
    there = [] if table is None else table.columns[1:]
    features = f"a feature of the model's items ({', '.join(there) or 'it has none'})"
    if column is None:
        if not len(model.histories.indices):
            raise ConfigError(
                f"column: expected {features}, got None, which takes what users had for how popular items are; this "
                "model keeps no users."
            )
        pairs = model.histories.to_csr(len(model.items))
        return popularity_strata(np.bincount(pairs.indices, minlength=len(model.items)))
    if table is None or column not in there:
        raise ConfigError(f"column: expected {features}, got {column!r}.")
    encoder = FeatureEncoder.from_table(table, columns=[column], min_count=1)
    if encoder.columns[0].kind != "values":
        raise DataError(f"column: expected categories, got {column!r}, which holds numbers or times; cut it into bins.")
    return category_shares(encoder.encode(table))
