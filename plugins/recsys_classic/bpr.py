"""Matrix factorization trained on pairs of a had and a not-had item."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import Field

from recsys_classic.bases import FactorRecommender
from recsys_core import Config, DotForm, Interactions, ops
from recsys_core.models import Progress, SearchRange
from recsys_core.types import FloatArray

__all__ = ["Bpr", "BprConfig"]


class BprConfig(Config):
    """Settings of :class:`Bpr`."""

    n_factors: Annotated[int, SearchRange(16, 256, log=True)] = Field(
        64, ge=1, description="Length of a user's or an item's vector."
    )
    learning_rate: Annotated[float, SearchRange(0.005, 0.2, log=True)] = Field(
        0.05, gt=0, description="Step of the stochastic gradient ascent."
    )
    regularization: Annotated[float, SearchRange(1e-4, 0.1, log=True)] = Field(
        0.01, ge=0, description="Lambda, applied to what a step touches."
    )
    n_epochs: Annotated[int, SearchRange(20, 300, log=True)] = Field(
        100, ge=1, description="Passes; each draws as many triples as there are interactions."
    )
    deterministic: bool = Field(
        True, description="Same result for the same seed whatever the number of threads; False is faster."
    )
    random_state: int = Field(0, ge=0, description="Seed of the initial factors and of the draws.")
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")


class Bpr(FactorRecommender):
    r"""Bayesian personalized ranking with matrix factorization.

    .. math:: \max_{X, Y, b} \; \sum_{(u, i, j)} \ln \sigma(\hat x_{ui} - \hat x_{uj})
        - \frac{\lambda}{2} \lVert \Theta \rVert^2, \qquad \hat x_{ui} = x_u^\top y_i + b_i

    over triples of a user *u*, an item *i* they had and an item *j* they did not have, by stochastic gradient ascent.
    The weights of interactions do not count.

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
    O(nnz (f + log h)) an epoch, where f is ``n_factors`` and h the length of a history.  A user who had every item
    takes no part.

    Only users known from training can be asked for.  A stranger's vector would have to maximize the same likelihood
    over sampled pairs; the least-squares solve that serves a factorization with squared loss optimizes something
    else, and offering it under this name would mislead.

    References
    ----------
    S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI 2009, section 4.1 (criterion), figure 4 (LearnBPR) and section 4.3.1 (matrix factorization).  The
    item bias is our addition, common among implementations.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> Bpr(n_factors=2, n_epochs=5).fit(sales).item_bias_.shape
    (2,)
    """

    config_class = BprConfig
    config: BprConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Draw triples and follow the gradient."""
        settings = self.config

        def report(epoch: int, loss: float) -> None:
            progress(epoch + 1, settings.n_epochs)

        user_factors, item_factors, item_bias = ops.bpr(
            interactions.to_csr("binary"),
            settings.n_factors,
            learning_rate=settings.learning_rate,
            regularization=settings.regularization,
            n_epochs=settings.n_epochs,
            random_state=settings.random_state,
            n_threads=settings.n_threads,
            deterministic=settings.deterministic,
            callback=report,
        )
        return DotForm(item_factors, item_bias, user_factors)

    @property
    def item_bias_(self) -> FloatArray:
        """The items' biases, float32 (n_items,)."""
        return cast("FloatArray", self._dot_form.item_bias)
