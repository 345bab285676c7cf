"""Matrix factorization by squared loss, over the observed ratings or over the whole matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy.linalg import cho_factor, cho_solve

from recsys_classic.bases import FactorRecommender
from recsys_core import Config, DotForm, Interactions, ops
from recsys_core.models import FoldIn, Progress, SearchChoices, SearchRange
from recsys_core.types import CSR, FloatArray

__all__ = ["ExplicitMf", "ExplicitMfConfig"]

Float64Array = npt.NDArray[np.float64]
_Float = TypeVar("_Float", np.float32, np.float64)


class ExplicitMfConfig(Config):
    """Settings of :class:`ExplicitMf`."""

    n_factors: Annotated[int, SearchRange(8, 128, log=True)] = Field(
        32, ge=1, description="Length of a user's or an item's vector."
    )
    regularization: Annotated[float, SearchRange(0.5, 200.0, log=True)] = Field(
        12.0, gt=0, description="Lambda, the same for every row (not scaled by its length)."
    )
    n_iterations: Annotated[int, SearchRange(5, 30, log=True)] = Field(
        15, ge=1, description="Iterations; each solves all users, then all items, or by sgd visits all ratings."
    )
    solver: Literal["als", "sgd"] = Field(
        "als", description="Alternating least squares, or stochastic gradient steps, for observed ratings only."
    )
    learning_rate: float = Field(0.1, gt=0, description="Length of the first steps of sgd, which falls to 0.")
    non_negative: bool = Field(False, description="Whether factors must not be negative; there are no biases then.")
    observed: Annotated[bool, SearchChoices((True, False))] = Field(
        True, description="Fit the observed ratings only, with biases; False fits all pairs, a missing one being 0."
    )
    random_state: int = Field(0, ge=0, description="Seed of the initial factors.")
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")

    @model_validator(mode="after")
    def _only_als_does_it(self) -> Self:
        if self.solver == "sgd" and not self.observed:
            raise ValueError("expected solver 'als' with observed=False: gradient steps do not visit all pairs")
        if self.solver == "sgd" and self.non_negative:
            raise ValueError("expected solver 'als' with non_negative=True")
        return self

    @property
    def has_biases(self) -> bool:
        """Whether ratings are predicted with biases of users and items."""
        return self.observed and not self.non_negative


class ExplicitMf(FactorRecommender):
    r"""Regularized matrix factorization whose scores are predicted ratings.

    With ``observed=True``, over the set *O* of observed ratings,

    .. math:: \min \sum_{(u,i) \in O} (r_{ui} - \mu - b_u - c_i - x_u^\top y_i)^2
        + \lambda \sum_u (\lVert x_u \rVert^2 + b_u^2) + \lambda \sum_i (\lVert y_i \rVert^2 + c_i^2)

    where :math:`\mu` is the mean rating.  This predicts ratings; it is not meant to find what a user will choose, since
    it never sees what they did not.  With ``observed=False``, over all pairs, missing ratings being 0,

    .. math:: \min_{X, Y} \lVert R - X Y^\top \rVert_F^2 + \lambda (\lVert X \rVert_F^2 + \lVert Y \rVert_F^2)

    which does rank for choice.  With ``non_negative=True``, :math:`X \ge 0` and :math:`Y \ge 0`, and there are neither
    biases nor a mean, so that a factor can be read as a topic.  Of a pair that occurs more than once, the last rating
    counts.

    Parameters
    ----------
    **settings
        Fields of :class:`ExplicitMfConfig`.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors): *X*.
    item_factors_
        float32 (n_items, n_factors): *Y*.
    user_bias_, item_bias_
        float32 (n_users,) and (n_items,): *b* and :math:`\mu + c`; None with ``observed=False`` or
        ``non_negative=True``.

    Notes
    -----
    By alternating least squares, every half of an iteration is the exact minimum of the objective given the other half,
    so that it never rises. ``solver="sgd"`` takes gradient steps to the same objective, O(nnz f) an iteration, after
    which the users are solved (:func:`recsys_core.ops.explicit_mf`). A bias is solved together with its vector, as one
    more factor whose partner is 1. Time an iteration, f being ``n_factors``: O(nnz f\ :sup:`2` + (n_users + n_items) f\
    :sup:`3`) observed, and O(nnz f + (n_users + n_items) f\ :sup:`2`) over all pairs, where all rows share one matrix.

    With ``observed=False`` the product at the minimum is the singular value decomposition of *R* cut to f factors, each
    singular value less :math:`\lambda`, and not below 0.

    Rows that must not be negative are solved by coordinate descent (:func:`recsys_core.ops.solve_rows`). A graph has no
    such solve, so that with ``non_negative=True`` only known users can be asked for.

    Users are solved once more after the last iteration, so that a user known from training gets exactly what their
    history would get as a stranger's.  An item that is rated again counts with its last rating, and one that a history
    lists without a rating as rated with the mean.  The form's vectors have one more factor than those of the
    attributes where there are biases.

    References
    ----------
    Y. Koren, R. Bell and C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8),
    2009, equation 5; solved by alternation (Zhou et al., "Large-scale Parallel Collaborative Filtering for the Netflix
    Prize", AAIM 2008) with lambda not scaled by the number of ratings.  R. Mazumder, T. Hastie and R. Tibshirani,
    "Spectral Regularization Algorithms for Learning Large Incomplete Matrices", JMLR 11, 2010, lemma 1, for the
    decomposition.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> ratings = Interactions.from_arrays(["ann", "ann", "bob", "bob"], ["tea", "rum", "tea", "gin"], [5, 1, 5, 2])
    >>> model = ExplicitMf(n_factors=2, regularization=0.01).fit(ratings)
    >>> model.recommend("bob", k=1, filter_seen=False)["item_id"].to_list()
    ['tea']
    """

    config_class = ExplicitMfConfig
    config: ExplicitMfConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Alternate between users and items."""
        ratings = interactions.to_csr("last")
        if self.config.non_negative:
            return _fit_non_negative(ratings, self.config, progress)
        fit = _fit_observed if self.config.observed else _fit_all
        return fit(ratings, self.config, progress)

    @property
    def user_factors_(self) -> FloatArray:
        """The users' factors, float32 (n_users, n_factors)."""
        return super().user_factors_[:, : self.config.n_factors]

    @property
    def item_factors_(self) -> FloatArray:
        """The items' factors, float32 (n_items, n_factors)."""
        return super().item_factors_[:, : self.config.n_factors]

    @property
    def user_bias_(self) -> FloatArray | None:
        """The users' biases, float32 (n_users,); None without biases."""
        return super().user_factors_[:, -1] if self.config.has_biases else None

    @property
    def item_bias_(self) -> FloatArray | None:
        """The items' biases, the mean rating included, float32 (n_items,); None without biases."""
        return self._dot_form.item_bias


def _fit_observed(ratings: CSR, config: ExplicitMfConfig, progress: Progress) -> DotForm:
    """Minimize over the stored entries; the last column of either side is its bias."""
    mean = np.float32(ratings.data.mean(dtype=np.float64))
    fold_in = FoldIn(
        config.regularization * np.eye(config.n_factors + 1, dtype=np.float32),
        confidence=(1.0, 0.0),
        target=(0.0, 1.0),
        repeats="last",
        default_weight=float(mean),
    )

    def solve(matrix: CSR, other: FloatArray) -> FloatArray:
        return ops.solve_rows(
            matrix,
            _with_ones(other),
            prior=fold_in.prior,
            confidence=fold_in.confidence,
            target=fold_in.target,
            item_offset=mean + other[:, -1],
            n_threads=config.n_threads,
        )

    def form(items: FloatArray) -> DotForm:
        item_bias = mean + items[:, -1]
        return DotForm(_with_ones(items), item_bias, solve(ratings, items), replace(fold_in, item_offset=item_bias))

    if config.solver == "als":
        items = np.zeros((ratings.shape[1], config.n_factors + 1), np.float32)
        items[:, :-1] = _random_factors(ratings.shape[1], config)
        return _alternate(ratings, items, solve, form, config, progress)
    total = config.n_iterations + 1
    fitted = form(_items_by_sgd(ratings, mean, config, lambda done, items: progress(done, total, partial(form, items))))
    progress(total, total)
    return fitted


def _alternate(
    ratings: CSR,
    items: npt.NDArray[_Float],
    solve: Callable[[CSR, npt.NDArray[_Float]], npt.NDArray[_Float]],
    form: Callable[[npt.NDArray[_Float]], DotForm],
    config: ExplicitMfConfig,
    progress: Progress,
) -> DotForm:
    """Solve for the users and for the items in turn, from these items on."""
    item_users = ratings.T.tocsr()
    total = config.n_iterations + 1
    for iteration in range(config.n_iterations):
        items = solve(item_users, solve(ratings, items))
        progress(iteration + 1, total, partial(form, items))
    fitted = form(items)
    progress(total, total)
    return fitted


def _items_by_sgd(
    ratings: CSR, mean: np.float32, config: ExplicitMfConfig, report: Callable[[int, FloatArray], None]
) -> FloatArray:
    """Item factors, the bias last, by gradient steps."""
    centered = ratings.copy()
    centered.data = ratings.data - mean
    epochs = iter(range(1, config.n_iterations + 1))

    def look(factors: ops.SgdFactors) -> None:
        report(next(epochs), np.column_stack([factors.item_factors, factors.item_bias]))

    fitted = ops.explicit_mf(
        centered,
        config.n_factors,
        learning_rate=config.learning_rate,
        regularization=config.regularization,
        n_epochs=config.n_iterations,
        random_state=config.random_state,
        n_threads=config.n_threads,
        validate=look,
    )
    return np.column_stack([fitted.item_factors, fitted.item_bias])


def _with_ones(factors: FloatArray) -> FloatArray:
    """What the other side's vectors are multiplied by: the factors, and 1 for the other side's own bias."""
    factors = factors.copy()
    factors[:, -1] = 1.0
    return factors


def _fit_all(ratings: CSR, config: ExplicitMfConfig, progress: Progress) -> DotForm:
    """Minimize over all cells: every row's system has the same matrix, factorized once a half-iteration."""

    def solve(matrix: CSR, other: Float64Array) -> Float64Array:
        right = np.asarray(matrix @ other)
        return np.asarray(cho_solve(cho_factor(_ridge(other, config.regularization)), right.T).T)

    def form(items: Float64Array) -> DotForm:
        fold_in = FoldIn(
            _ridge(items, config.regularization).astype(np.float32),
            confidence=(0.0, 0.0),
            target=(0.0, 1.0),
            repeats="last",
            default_weight=float(ratings.data.mean(dtype=np.float64)),
        )
        users = solve(ratings, items)
        return DotForm(items.astype(np.float32), user_factors=users.astype(np.float32), fold_in=fold_in)

    return _alternate(ratings, _random_factors(ratings.shape[1], config), solve, form, config, progress)


def _fit_non_negative(ratings: CSR, config: ExplicitMfConfig, progress: Progress) -> DotForm:
    """Minimize over the stored entries or over all cells, each row by coordinate descent."""

    def solve(matrix: CSR, other: FloatArray) -> FloatArray:
        ridge = np.zeros_like(other[:0]) if config.observed else other
        return ops.solve_rows(
            matrix,
            other,
            prior=_ridge(ridge.astype(np.float64), config.regularization).astype(np.float32),
            confidence=(1.0, 0.0) if config.observed else (0.0, 0.0),
            target=(0.0, 1.0),
            non_negative=True,
            n_threads=config.n_threads,
        )

    def form(items: FloatArray) -> DotForm:
        return DotForm(items, user_factors=solve(ratings, items))

    # As large as to predict the mean, since a small start would be cut to zero by the regularization.
    mean = max(float(ratings.data.mean(dtype=np.float64)), 0.0)
    items = np.abs(_random_factors(ratings.shape[1], config)).astype(np.float32)
    items *= np.float32(10.0 * np.sqrt(mean))
    return _alternate(ratings, items, solve, form, config, progress)


def _ridge(factors: Float64Array, regularization: float) -> Float64Array:
    """``Y^T Y + lambda I``."""
    return np.asarray(factors.T @ factors + regularization * np.eye(factors.shape[1]))


def _random_factors(n_rows: int, config: ExplicitMfConfig) -> Float64Array:
    """Small Gaussian factors, float64 (n_rows, n_factors)."""
    random = np.random.default_rng(config.random_state)
    return random.normal(scale=0.1 / np.sqrt(config.n_factors), size=(n_rows, config.n_factors))
