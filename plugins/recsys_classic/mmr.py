"""Maximal marginal relevance: relevant items that are unlike each other."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recsys_classic.item_weighting import unit_rows
from recsys_classic.pool import check_k, relevance, take
from recsys_core import Config, DotForm, FittedModel
from recsys_core.data import Histories
from recsys_core.models import Reranker
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["Mmr", "MmrConfig"]

_CANDIDATES = 4096  # candidates compared at a time; bounds a chunk's similarities to 64 MB


class MmrConfig(Config):
    """Settings of :class:`Mmr`."""

    trade_off: float = Field(
        0.7, ge=0, le=1, description="Lambda: 1 keeps the model's order, 0 looks at unlikeness alone."
    )


class Mmr(Reranker):
    r"""Maximal marginal relevance.

    Fill the list one by one, each time with the candidate

    .. math:: \arg\max_{i \notin S} \; \lambda\, \mathrm{rel}(i) - (1 - \lambda) \max_{j \in S} \mathrm{sim}(i, j)

    where *S* are the items chosen so far.  The relevance is the model's score, mapped linearly to [0, 1] over the row's
    candidates so that it can be held against a cosine; the similarity is the cosine of the items' factors for a
    :class:`~recsys_core.DotForm`, and of the items' sets of training users for the other forms, which have no vectors.

    Parameters
    ----------
    **settings
        Fields of :class:`MmrConfig`.

    Notes
    -----
    O(P\ :sup:`2` f) a query for a pool of P candidates and f factors.  Ties go to the candidate that the model ranks
    higher, so that a ``trade_off`` of 1 returns the pool's first k as they are.

    References
    ----------
    J. Carbonell and J. Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries", SIGIR 1998, section 2.  The mapping of the scores is ours.

    Examples
    --------
    >>> from recsys_core import Interactions, create, create_reranker
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "mug", "rum", "tea"])
    >>> popular = create("popularity").fit(sales)
    >>> diverse = popular.reranked(create_reranker("mmr", trade_off=0.5))
    >>> diverse.recommend(histories=[[]], k=2)["item_id"].to_list()
    ['tea', 'rum']
    """

    config_class = MmrConfig
    config: MmrConfig

    def rerank(self, pool: Ranking, k: int, model: FittedModel, histories: Histories) -> Ranking:
        """Choose and order k of each row's candidates; what the asker has had plays no part.

        Raises
        ------
        ConfigError
            ``k`` is not between 1 and the pool's width.
        """
        check_k(k, pool)
        n_queries, width = pool.indices.shape
        vectors = _item_vectors(model)
        places = np.empty((n_queries, k), np.int64)
        step = max(1, _CANDIDATES // width)
        for start in range(0, n_queries, step):
            part = Ranking(pool.indices[start : start + step], pool.scores[start : start + step])
            places[start : start + step] = _choose(part, _similarities(part.indices, vectors), k, self.config.trade_off)
        return take(pool, places)


def _choose(pool: Ranking, similarity: FloatArray, k: int, trade_off: float) -> IndexArray:
    """Places in the pool of the k chosen, int64 (n_queries, k); ``similarity`` is (n_queries, P, P)."""
    rows = np.arange(len(pool.indices))
    # Padding comes after every candidate and before what was chosen already, at minus infinity.
    gain = np.where(pool.indices >= 0, np.float32(trade_off) * relevance(pool), np.float32(-1e30))
    # A first item has nothing to be unlike, so its penalty is 0; cosines may be negative thereafter.
    nearest = np.zeros_like(gain)
    places = np.empty((len(rows), k), np.int64)
    for place in range(k):
        best = (gain - np.float32(1.0 - trade_off) * nearest).argmax(axis=1)
        places[:, place] = best
        gain[rows, best] = -np.inf
        likeness = similarity[rows, best]
        nearest = likeness if place == 0 else np.maximum(nearest, likeness)
    return places


def _item_vectors(model: FittedModel) -> FloatArray | CSR:
    """Vectors of all items: the factors, or rows of unit length over the training users."""
    if isinstance(model.form, DotForm):
        return model.form.likeness_factors
    item_users = model.histories.to_csr(model.form.n_items).T.tocsr()
    item_users.data = np.ones(item_users.nnz, np.float32)
    return unit_rows(item_users)


def _similarities(indices: IndexArray, vectors: FloatArray | CSR) -> FloatArray:
    """Cosines between the candidates of each query, float32 (n_queries, P, P); meaningless for padding."""
    indices = np.maximum(indices, 0)
    if isinstance(vectors, np.ndarray):
        chosen = vectors[indices]
        norm = np.linalg.norm(chosen, axis=2, keepdims=True)
        unit = np.divide(chosen, norm, out=np.zeros_like(chosen), where=norm > 0)
        return np.asarray(unit @ unit.transpose(0, 2, 1))
    distinct, place = np.unique(indices, return_inverse=True)
    rows = vectors[distinct]
    table: FloatArray = (rows @ rows.T).toarray()
    place = place.reshape(indices.shape)
    return table[place[:, :, None], place[:, None, :]]
