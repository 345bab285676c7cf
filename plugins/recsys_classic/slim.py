"""SLIM: a sparse linear item-item model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys_classic.bases import ItemItemRecommender
from recsys_core import Config, Interactions, ItemItemForm, ops
from recsys_core.models import Progress, SearchRange

__all__ = ["Slim", "SlimConfig"]


class SlimConfig(Config):
    """Settings of :class:`Slim`."""

    l1: Annotated[float, SearchRange(0.5, 50.0, log=True)] = Field(
        5.0, ge=0, description="L1 penalty: larger means fewer weights."
    )
    l2: Annotated[float, SearchRange(5.0, 2000.0, log=True)] = Field(
        50.0, ge=0, description="L2 penalty: larger means smaller weights."
    )
    n_iterations: int = Field(
        100, ge=1, description="Most passes over an item's coordinates; it stops when they settle."
    )
    tolerance: float = Field(
        1e-4,
        ge=0,
        description="An item is done when no coordinate's move gains more than half this, squared, of |x|^2.",
    )
    positive_only: bool = Field(True, description="Allow no negative weight.")
    binary: bool = Field(True, description="Train on whether a user had an item, not on the weights.")
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")


class Slim(ItemItemRecommender):
    r"""SLIM, sparse linear methods for top-N recommendation.

    .. math:: \min_W \; \tfrac12 \lVert X - XW \rVert_F^2 + \tfrac{\beta}{2} \lVert W \rVert_F^2
        + \lambda \lVert W \rVert_1 \quad\text{with}\quad W \ge 0,\; W_{ii} = 0

    where :math:`\lambda` is ``l1`` and :math:`\beta` is ``l2``.  Each column is an elastic net of its own, solved by
    coordinate descent.

    Parameters
    ----------
    **settings
        Fields of :class:`SlimConfig`.

    Attributes
    ----------
    item_weights_
        float32 (n_items, n_items), CSR: *W*, zero on the diagonal.

    Notes
    -----
    O(n_items\ :sup:`2` c) time, where c is the number of weights that change while a column is solved, and 4 bytes
    times n_items\ :sup:`2` of memory for the Gram matrix, which the model does not keep.  Columns are independent and
    run in parallel.  The penalties are in units of users, as in the paper; scikit-learn's ``ElasticNet`` divides its
    first term by the number of users.

    References
    ----------
    X. Ning and G. Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011, equations 3
    (objective) and 4 (one column); the bound on W can be dropped by ``positive_only=False``.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "bob", "eve"], ["tea", "rum", "tea", "gin", "tea"])
    >>> model = Slim(l1=0.1, l2=0.1).fit(sales)
    >>> model.recommend("eve")["item_id"].to_list()
    ['gin', 'rum']
    """

    config_class = SlimConfig
    config: SlimConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> ItemItemForm:
        """Solve one elastic net an item."""
        settings = self.config
        weights = ops.slim(
            interactions.to_csr("binary" if settings.binary else "sum"),
            l1=settings.l1,
            l2=settings.l2,
            n_iterations=settings.n_iterations,
            tolerance=settings.tolerance,
            positive_only=settings.positive_only,
            n_threads=settings.n_threads,
            callback=progress,
        )
        return ItemItemForm(weights, binary=settings.binary)
