"""Matrix factorization trained for the top of the list."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys_classic.sgd import SgdConfig, SgdRecommender
from recsys_core import Interactions, ops
from recsys_core.models import SearchRange
from recsys_core.ops import SgdFactors, SgdOptions

__all__ = ["Warp", "WarpConfig"]


class WarpConfig(SgdConfig):
    """Settings of :class:`Warp`."""

    learning_rate: Annotated[float, SearchRange(0.01, 0.3, log=True)] = Field(
        0.03, gt=0, description="Length of the first steps; Adagrad shortens it for each row, and it falls to 0."
    )
    regularization: Annotated[float, SearchRange(0.01, 0.5, log=True)] = Field(
        0.08, ge=0, description="Lambda, applied to what a step touches."
    )
    popularity_power: Annotated[float, SearchRange(0.0, 0.8)] = Field(
        0.2, ge=0, description="Items are drawn by (number of users)^power; 0 draws all alike."
    )
    max_trials: Annotated[int, SearchRange(5, 100, log=True)] = Field(
        30, ge=1, le=10_000, description="Most items drawn for an interaction, looking for one that scores too high."
    )


class Warp(SgdRecommender):
    r"""Weighted approximate-rank pairwise loss with matrix factorization.

    .. math:: \min_{X, Y, b} \; \sum_{(u, i)} L(r_{ui}) \max(0, 1 - \hat x_{ui} + \hat x_{uj})
        + \frac{\lambda}{2} \lVert \Theta \rVert^2, \qquad \hat x_{ui} = x_u^\top y_i + b_i

    over what each user *u* had, with *j* the first drawn item that they did not have and that violates the margin.
    The more draws that takes, the better the rank :math:`r_{ui}` must be, and the less *i* is moved.  The weights of
    interactions do not count.

    Parameters
    ----------
    **settings
        Fields of :class:`WarpConfig`.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors): *X*.
    item_factors_
        float32 (n_items, n_factors): *Y*.
    item_bias_
        float32 (n_items,): *b*.

    Notes
    -----
    O(nnz f) an epoch, where f is ``n_factors``, times the number of draws, at most ``max_trials``.

    On strangers, features and ``partial_fit`` see :class:`~recsys_classic.sgd.SgdRecommender`.

    References
    ----------
    J. Weston, S. Bengio and N. Usunier, "WSABIE: Scaling Up to Large Vocabulary Image Annotation", IJCAI 2011,
    section 3; :func:`recsys_core.ops.warp` says where we deviate.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> Warp(n_factors=2, n_epochs=5).fit(sales).item_bias_.shape
    (2,)
    """

    config_class = WarpConfig
    config: WarpConfig
    _update_share = 40  # its steps do not shrink as margins grow; more of them, update after update, fit too closely

    def _train(self, interactions: Interactions, options: SgdOptions) -> SgdFactors:
        settings = self.config
        matrix = interactions.to_csr("binary")
        return ops.warp(matrix, settings.n_factors, max_trials=settings.max_trials, **options)
