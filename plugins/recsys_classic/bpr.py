"""Matrix factorization trained on pairs of a had and a not-had item."""

from __future__ import annotations

from recsys_classic.sgd import SgdConfig, SgdRecommender
from recsys_core import Interactions, ops
from recsys_core.ops import SgdFactors, SgdOptions

__all__ = ["Bpr", "BprConfig"]


class BprConfig(SgdConfig):
    """Settings of :class:`Bpr`."""


class Bpr(SgdRecommender):
    r"""Bayesian personalized ranking with matrix factorization.

    .. math:: \min_{X, Y, b} \; \sum_{(u, i, j)} -\ln \sigma(\hat x_{ui} - \hat x_{uj})
        + \frac{\lambda}{2} \lVert \Theta \rVert^2, \qquad \hat x_{ui} = x_u^\top y_i + b_i

    over triples of a user *u*, an item *i* they had and an item *j* they did not have, by stochastic gradient steps
    with Adagrad.  The weights of interactions do not count.

    Parameters
    ----------
    **settings
        Fields of :class:`BprConfig`.

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
    O(nnz f) an epoch, where f is ``n_factors``.

    On strangers, features and ``partial_fit`` see :class:`~recsys_classic.sgd.SgdRecommender`.

    References
    ----------
    S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI 2009, section 4.1 (criterion), figure 4 (LearnBPR) and section 4.3.1 (matrix factorization).  The
    item bias and Adagrad are our additions, common among implementations.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> Bpr(n_factors=2, n_epochs=5).fit(sales).item_bias_.shape
    (2,)
    """

    config_class = BprConfig
    config: BprConfig

    def _train(self, interactions: Interactions, options: SgdOptions) -> SgdFactors:
        return ops.bpr(interactions.to_csr("binary"), self.config.n_factors, **options)
