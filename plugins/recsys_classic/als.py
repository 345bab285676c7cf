"""Alternating least squares on implicit feedback."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field

from recsys_classic.bases import FactorRecommender
from recsys_core import Config, DotForm, Interactions, ops
from recsys_core.models import FoldIn, Progress, SearchRange, Update
from recsys_core.types import CSR, FloatArray

__all__ = ["Als", "AlsConfig"]

_UPDATE_ROUNDS = 2  # of solving touched users, then touched items


class AlsConfig(Config):
    """Settings of :class:`Als`."""

    n_factors: Annotated[int, SearchRange(16, 256, log=True)] = Field(
        64, ge=1, description="Length of a user's or an item's vector."
    )
    regularization: Annotated[float, SearchRange(0.1, 200.0, log=True)] = Field(
        20.0, ge=0, description="Lambda, the same for every row (not scaled by its length)."
    )
    alpha: Annotated[float, SearchRange(0.1, 50.0, log=True)] = Field(
        1.0, gt=0, description="What a weight adds to the confidence: c = 1 + alpha * weight."
    )
    n_iterations: Annotated[int, SearchRange(5, 30, log=True)] = Field(
        15, ge=1, description="Iterations; each solves all users, then all items."
    )
    solver: Literal["auto", "cholesky", "cg"] = Field(
        "auto", description="Exact solves, or a few steps of conjugate gradients."
    )
    random_state: int = Field(0, ge=0, description="Seed of the initial factors.")
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")


class Als(FactorRecommender):
    r"""Implicit-feedback matrix factorization by alternating least squares.

    .. math:: \min_{X, Y} \; \sum_{u,i} c_{ui} (p_{ui} - x_u^\top y_i)^2
        + \lambda \Big( \sum_u \lVert x_u \rVert^2 + \sum_i \lVert y_i \rVert^2 \Big)

    over *all* pairs, with :math:`p_{ui} = 1` and :math:`c_{ui} = 1 + \alpha r_{ui}` where user *u* had item *i* with
    weight :math:`r_{ui}` (repeats add up), and :math:`p_{ui} = 0`, :math:`c_{ui} = 1` elsewhere.

    Parameters
    ----------
    **settings
        Fields of :class:`AlsConfig`.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors): *X*.
    item_factors_
        float32 (n_items, n_factors): *Y*.

    Notes
    -----
    O(nnz f\ :sup:`2` + (n_users + n_items) f\ :sup:`3`) an iteration with Cholesky, where f is ``n_factors``.

    After the last iteration the users are solved once more against the final items, so that a user known from training
    gets exactly what their history would get as a stranger's.

    ``partial_fit`` is incremental: it solves the users and items of the new interactions, in two turns, from all that
    they have had, and holds all other rows.  The objective therefore drifts from that of a fit on everything: on
    MovieLens latest-small it is 2% higher after 20 updates that together grew the data by 29%.  Fit anew from time to
    time.  It costs O(nnz) for the matrix and O(n f\ :sup:`2` + f\ :sup:`3`) a touched row of n entries.

    The confidence is that of the paper.  The ``implicit`` package takes its stored values as :math:`c` itself: its
    ``alpha`` times a weight is our ``1 + alpha`` times the weight, and its missing pairs have :math:`c = 1` as well.

    References
    ----------
    Y. Hu, Y. Koren and C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equations 3
    (objective) and 4 (a user's vector).  For ``partial_fit`` X. He, H. Zhang, M.-Y. Kan and T.-S. Chua, "Fast Matrix
    Factorization for Online Recommendation with Implicit Feedback", SIGIR 2016, section 4.3: the rows of a new
    interaction are updated and no others, here by exact solves in place of coordinate steps.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> model = Als(n_factors=2, regularization=0.1).fit(sales)
    >>> model.user_factors_.shape
    (3, 2)
    >>> model.recommend(histories=["tea"], k=1)["item_id"].to_list()
    ['rum']
    """

    config_class = AlsConfig
    config: AlsConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Alternate between users and items."""
        settings = self.config
        user_items = interactions.to_csr("sum")
        total = settings.n_iterations + 1

        def report(iteration: int, _: float) -> None:
            progress(iteration + 1, total)

        _, item_factors = ops.als(
            user_items,
            settings.n_factors,
            regularization=settings.regularization,
            alpha=settings.alpha,
            n_iterations=settings.n_iterations,
            solver=settings.solver,
            random_state=settings.random_state,
            n_threads=settings.n_threads,
            callback=report,
            compute_loss=False,
        )
        user_factors = self._solve(user_items, item_factors)
        progress(total, total)
        return DotForm(item_factors, user_factors=user_factors, fold_in=self._fold_in(item_factors))

    def update_form(self, update: Update) -> DotForm:
        """Solve the rows of the touched users and items, in turns, with all others held."""
        form = cast("DotForm", update.before.form)
        n_users, n_items = len(update.users), len(update.items)
        n_old, n_factors = form.item_factors.shape
        random = np.random.default_rng([self.config.random_state, n_old])
        item_factors = np.empty((n_items, n_factors), np.float32)
        item_factors[:n_old] = form.item_factors
        # New items start as all items did, so that a new user with none but new items has something to begin with.
        scale = 0.1 * np.sqrt(3.0 / n_factors)
        item_factors[n_old:] = random.uniform(-scale, scale, (n_items - n_old, n_factors))
        user_factors = np.zeros((n_users, n_factors), np.float32)
        user_factors[: len(update.before.users)] = form.user_factors
        users, items = update.touched_users, update.touched_items
        user_items = update.histories.to_csr(n_items)
        rows, columns = user_items[users], user_items[:, items].T.tocsr()
        for _ in range(_UPDATE_ROUNDS):
            user_factors[users] = self._solve(rows, item_factors)
            item_factors[items] = self._solve(columns, user_factors)
        user_factors[users] = self._solve(rows, item_factors)
        return DotForm(item_factors, user_factors=user_factors, fold_in=self._fold_in(item_factors))

    def _fold_in(self, factors: FloatArray) -> FoldIn:
        """How a row is solved when the other side's factors are held."""
        gram = factors.T.astype(np.float64) @ factors
        gram.flat[:: len(gram) + 1] += self.config.regularization
        alpha = self.config.alpha
        return FoldIn(gram.astype(np.float32), confidence=(0.0, alpha), target=(1.0, alpha))

    def _solve(self, rows: CSR, factors: FloatArray) -> FloatArray:
        fold_in = self._fold_in(factors)
        return ops.solve_rows(
            rows,
            factors,
            prior=fold_in.prior,
            confidence=fold_in.confidence,
            target=fold_in.target,
            n_threads=self.config.n_threads,
        )
