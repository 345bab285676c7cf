"""Item-based nearest neighbors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recsys_classic.bases import ItemItemRecommender
from recsys_classic.item_weighting import bm25, tf_idf, unit_rows
from recsys_core import Config, Interactions, ItemItemForm, ops
from recsys_core.models import Progress, SearchChoices, SearchRange, Update
from recsys_core.types import CSR

__all__ = ["ItemKnn", "ItemKnnConfig"]


class ItemKnnConfig(Config):
    """Settings of :class:`ItemKnn`."""

    similarity: Annotated[Literal["tfidf", "cosine", "bm25"], SearchChoices(("tfidf", "cosine", "bm25"))] = Field(
        "tfidf", description="How alike two items are, from the users who had them."
    )
    n_neighbors: Annotated[int, SearchRange(10, 500, log=True)] = Field(
        50, ge=1, description="Neighbors to keep an item."
    )
    shrink: Annotated[float, SearchRange(0.0, 100.0, when={"similarity": ("tfidf", "cosine")})] = Field(
        0.0, ge=0, description="Evidence that an item needs: larger trusts rare items less. Not used by bm25."
    )
    binary: Annotated[bool, SearchChoices((False, True))] = Field(
        False, description="Count whether a user had an item, not the weights."
    )
    bm25_k1: Annotated[float, SearchRange(0.1, 20.0, log=True, when={"similarity": ("bm25",)})] = Field(
        1.2, ge=0, description="How slowly a growing weight saturates, for bm25."
    )
    bm25_b: Annotated[float, SearchRange(0.0, 1.0, when={"similarity": ("bm25",)})] = Field(
        0.75, ge=0, le=1, description="How much popular items are held back, for bm25."
    )
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")


class ItemKnn(ItemItemRecommender):
    r"""Item-based nearest neighbors: what is like the items that a user had.

    .. math:: \hat r_{ui} = \sum_{j \in h_u:\; i \in N(j)} r_{uj}\, s_{ji}

    where :math:`N(j)` are the ``n_neighbors`` items most similar to *j*.  With
    :math:`v_i \in \mathbb{R}^{n_{users}}` the weights that users gave item *i* (1 with ``binary=True``):

    - ``cosine``: :math:`v_i \cdot v_j / \sqrt{(\lVert v_i \rVert^2 + s)(\lVert v_j \rVert^2 + s)}`, s being the shrink;
    - ``tfidf``: the cosine of the vectors weighted by tf-idf;
    - ``bm25``: the inner product of the vectors weighted by BM25, not normalized afterwards.

    Parameters
    ----------
    **settings
        Fields of :class:`ItemKnnConfig`.

    Attributes
    ----------
    item_weights_
        float32 (n_items, n_items), CSR: row *j* holds :math:`s_{ji}` for the neighbors of *j*.

    Notes
    -----
    O(sum of squared history lengths) time; memory is n_neighbors entries an item.  :mod:`recsys_classic.item_weighting`
    has the weightings' formulas.

    ``partial_fit`` gives what ``fit`` on all interactions gives, in the same time, from the histories that the model
    keeps.

    References
    ----------
    M. Deshpande and G. Karypis, "Item-Based Top-N Recommendation Algorithms", ACM TOIS 22(1), 2004, section 4.1;
    without their normalization of rows.  The shrink is inside the norms, as if each item had users of its own, instead
    of in Koren's factor :math:`n_{ij} / (n_{ij} + s)`; it has the same aim and stays an inner product.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "bob", "eve"], ["tea", "rum", "tea", "gin", "tea"])
    >>> model = ItemKnn().fit(sales)
    >>> model.recommend("eve")["item_id"].to_list()
    ['gin', 'rum']
    """

    config_class = ItemKnnConfig
    config: ItemKnnConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> ItemItemForm:
        """Compare every item with the items that it shares a user with."""
        settings = self.config
        item_users = interactions.to_csr("binary" if settings.binary else "sum").T.tocsr()
        weights = ops.item_neighbors(self._vectors(item_users), settings.n_neighbors, n_threads=settings.n_threads)
        progress(1, 1)
        return ItemItemForm(weights, binary=settings.binary)

    def update_form(self, update: Update) -> ItemItemForm:
        """Compare all items anew: one new event changes the norm, and so the neighbors, of far more than its item."""
        return self.fit_form(update.interactions(), lambda done, total, form=None: None)

    def _vectors(self, item_users: CSR) -> CSR:
        """Vectors whose inner products are the similarities."""
        settings = self.config
        if settings.similarity == "cosine":
            return unit_rows(item_users, settings.shrink)
        if settings.similarity == "tfidf":
            return unit_rows(tf_idf(item_users), settings.shrink)
        return bm25(item_users, settings.bm25_k1, settings.bm25_b)
