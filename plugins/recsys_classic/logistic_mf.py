"""Matrix factorization that tells had from not had."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys_classic.sgd import SgdConfig, SgdRecommender
from recsys_core import Interactions, ops
from recsys_core.models import SearchRange
from recsys_core.ops import SgdFactors, SgdOptions

__all__ = ["LogisticMf", "LogisticMfConfig"]


class LogisticMfConfig(SgdConfig):
    """Settings of :class:`LogisticMf`."""

    regularization: Annotated[float, SearchRange(0.01, 0.3, log=True)] = Field(
        0.08, ge=0, description="Lambda, applied to what a step touches."
    )
    n_epochs: Annotated[int, SearchRange(20, 200, log=True)] = Field(
        80, ge=1, description="Passes over the interactions."
    )
    popularity_power: Annotated[float, SearchRange(0.0, 0.8)] = Field(
        0.5, ge=0, description="Items are drawn by (number of users)^power; 0 draws all alike."
    )
    alpha: Annotated[float, SearchRange(0.3, 10.0, log=True)] = Field(
        1.0, gt=0, description="Weight of an interaction against that of an item drawn for it."
    )
    n_negatives: Annotated[int, SearchRange(1, 20, log=True)] = Field(
        5, ge=1, le=64, description="Items drawn for an interaction."
    )
    binary: bool = Field(True, description="Whether every interaction counts 1; else its weight, repeats added up.")


class LogisticMf(SgdRecommender):
    r"""Logistic matrix factorization.

    .. math:: \min_{X, Y, b} \; \sum_{(u, i)} \Big( -\alpha r_{ui} \ln \sigma(\hat x_{ui})
        - \sum_{j} \ln \sigma(-\hat x_{uj}) \Big) + \frac{\lambda}{2} \lVert \Theta \rVert^2,
        \qquad \hat x_{ui} = x_u^\top y_i + b_i

    over what each user *u* had, with ``n_negatives`` items *j* drawn from those that they did not have.

    Parameters
    ----------
    **settings
        Fields of :class:`LogisticMfConfig`.

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
    O(nnz f) an epoch, where f is ``n_factors``, times 1 + ``n_negatives``.

    On strangers, features and ``partial_fit`` see :class:`~recsys_classic.sgd.SgdRecommender`.

    References
    ----------
    C. C. Johnson, "Logistic Matrix Factorization for Implicit Feedback Data", NIPS 2014 workshop, equation 4;
    :func:`recsys_core.ops.logistic_mf` says where we deviate.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> LogisticMf(n_factors=2, n_epochs=5).fit(sales).item_bias_.shape
    (2,)
    """

    config_class = LogisticMfConfig
    config: LogisticMfConfig

    def _train(self, interactions: Interactions, options: SgdOptions) -> SgdFactors:
        settings = self.config
        matrix = interactions.to_csr("binary" if settings.binary else "sum")
        return ops.logistic_mf(
            matrix, settings.n_factors, alpha=settings.alpha, n_negatives=settings.n_negatives, **options
        )
