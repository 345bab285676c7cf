"""What the models that are trained by stochastic gradient steps have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recsys_classic.bases import FactorRecommender
from recsys_classic.side_features import FeatureMeans, check_n_features, require_table
from recsys_core import Config, DotForm, Interactions
from recsys_core.data import FeatureEncoder
from recsys_core.errors import DataError
from recsys_core.models import Progress, SearchRange, Update
from recsys_core.ops import SgdFactors, SgdOptions
from recsys_core.types import CSR, FloatArray, Index32Array

__all__ = ["SgdConfig", "SgdRecommender"]


class SgdConfig(Config):
    """Settings of :class:`SgdRecommender`."""

    n_factors: Annotated[int, SearchRange(16, 256, log=True)] = Field(
        64, ge=1, description="Length of a user's or an item's vector."
    )
    learning_rate: Annotated[float, SearchRange(0.01, 0.3, log=True)] = Field(
        0.2, gt=0, description="Length of the first steps; Adagrad shortens it for each row, and it falls to 0."
    )
    regularization: Annotated[float, SearchRange(0.01, 0.3, log=True)] = Field(
        0.04, ge=0, description="Lambda, applied to what a step touches."
    )
    n_epochs: Annotated[int, SearchRange(20, 200, log=True)] = Field(
        100, ge=1, description="Passes over the interactions."
    )
    popularity_power: Annotated[float, SearchRange(0.0, 0.8)] = Field(
        0.4, ge=0, description="Items are drawn by (number of users)^power; 0 draws all alike."
    )
    item_features: tuple[str, ...] = Field(
        (), description="Columns of the item features to learn from, so that new items can be recommended."
    )
    user_features: tuple[str, ...] = Field((), description="Columns of the user features to learn from.")
    deterministic: bool = Field(
        True, description="Same result for the same seed whatever the threads; False is faster with features."
    )
    random_state: int = Field(0, ge=0, description="Seed of the initial factors and of the draws.")
    n_threads: int = Field(0, ge=0, description="Threads to train with, 0 for all.")


class SgdRecommender(FactorRecommender):
    r"""Base of the models whose scores are :math:`x_u^\top y_i + b_i`, trained by stochastic gradient steps.

    With features, a row's vector is its own and the sum of its features' vectors; a feature table's row is scaled to
    length 1, so that a row with many features does not outweigh one with few.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors), features included.
    item_factors_
        float32 (n_items, n_factors), features included.
    item_bias_
        float32 (n_items,), features included.
    item_encoder_
        The :class:`~recsys_core.data.FeatureEncoder` of the item features, or None without them.
    factors_
        The :class:`~recsys_core.ops.SgdFactors`, with the features' vectors.

    Notes
    -----
    A user who had every item takes no part.

    Only users known from training can be asked for.  A stranger's vector would have to minimize the same loss over
    drawn items; the least-squares solve that serves a factorization with squared loss optimizes something else, and
    offering it under this name would mislead.

    With ``item_features``, items of the id map without interactions
    (:meth:`Interactions.with_features(..., cold_items=True) <recsys_core.Interactions.with_features>`) are recommended
    by their features alone, and ``embed_items`` gives the vectors of items that come later.

    ``partial_fit`` goes on from the vectors as they are, those of new users and items being random, over *all*
    interactions for a twentieth of the epochs (warp: a fortieth), at the full rate. Items must be drawn for all users
    alike: after steps over the new interactions alone, what is new would be scored too high for everybody. So an update
    costs as small a part of a fit, and all vectors move but those of items that nobody had. It is refused with
    ``user_features``, since a fitted model does not keep those of its users.

    With ``item_features``, whose vectors a fitted model does not keep either, these are a ridge regression of the
    items' vectors: of all ways to write them as sums of a vector of its own for each item and of those of its features,
    the one of the least squared lengths. New items begin there; training then moves whole vectors. (Trained on, with
    new step lengths, the features' vectors drag along all items that nobody had, and nothing draws those back.)
    """

    _update_share: ClassVar[int] = 20  # an update takes the n-th part of a fit's epochs

    config: SgdConfig
    item_encoder_: FeatureEncoder | None
    factors_: SgdFactors

    @abstractmethod
    def _train(self, interactions: Interactions, options: SgdOptions) -> SgdFactors:
        """Call the operation of the model's objective."""

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Draw items and follow the gradient."""
        settings = self.config
        self.item_encoder_, item_features = _features(interactions, "item", settings.item_features)
        _, user_features = _features(interactions, "user", settings.user_features)
        options = self._options(settings.n_epochs)
        epochs = iter(range(1, settings.n_epochs + 1))

        def look(factors: SgdFactors) -> None:
            progress(next(epochs), settings.n_epochs, lambda: _form(factors))

        options["validate"] = look
        options["item_features"], options["user_features"] = item_features, user_features
        self.factors_ = self._train(interactions, options)
        return _form(self.factors_)

    def update_form(self, update: Update) -> DotForm:
        """Go on over all interactions from the vectors as they are."""
        settings = self.config
        if settings.user_features:
            raise DataError(
                "partial_fit: expected no user_features, since a fitted model does not keep those of its users; fit "
                "again on all interactions."
            )
        before, interactions = cast("DotForm", update.before.form), update.interactions()
        random = np.random.default_rng([settings.random_state, before.n_items])
        options = self._options(max(1, settings.n_epochs // self._update_share))
        start = SgdFactors(
            _grown(cast("FloatArray", before.user_factors), len(update.users), random),
            _grown(before.item_factors, len(update.items), random),
            np.pad(cast("FloatArray", before.item_bias), (0, len(update.items) - before.n_items)),
        )
        self.item_encoder_, features = _features(interactions, "item", settings.item_features)
        if features is not None:
            check_n_features(features, settings.item_features, "item")
            start = _placed(start, features, before.n_items)
        options["initial"] = SgdFactors(*start)
        factors = self._train(interactions, options)
        if features is not None:
            factors = _held(factors, start, had=interactions.item_index)
        self.factors_ = factors
        return _form(factors)

    def _options(self, n_epochs: int) -> SgdOptions:
        settings = self.config
        return {
            "learning_rate": settings.learning_rate,
            "regularization": settings.regularization,
            "n_epochs": n_epochs,
            "popularity_power": settings.popularity_power,
            "random_state": settings.random_state,
            "n_threads": settings.n_threads,
            "deterministic": settings.deterministic,
        }

    def embed_items(self, table: Any) -> tuple[FloatArray, FloatArray]:
        """Return the factors and biases of items that came after training, by their features alone.

        Parameters
        ----------
        table
            A data frame, one row an item, with the feature columns of training.

        Returns
        -------
        factors : numpy.ndarray
            float32, shape (rows, n_factors).
        bias : numpy.ndarray
            float32, shape (rows,).

        Raises
        ------
        NotFittedError
            ``fit`` has not been called.
        DataError
            The model was trained without item features, or a column is missing.
        """
        assert self.fitted is not None  # raises if not
        if self.item_encoder_ is None:
            raise DataError("table: the model was trained without item features; set item_features to their columns")
        return self.factors_.embed_items(_unit_rows(self.item_encoder_.encode(table)))

    @property
    def item_bias_(self) -> FloatArray:
        """The items' biases, float32 (n_items,)."""
        return cast("FloatArray", self._dot_form.item_bias)


def _form(factors: SgdFactors) -> DotForm:
    """The form of factors that training may go on to overwrite."""
    user_factors, item_factors, item_bias = (part.copy() for part in factors)
    return DotForm(item_factors, item_bias, user_factors)


def _grown(vectors: FloatArray, n_rows: int, random: np.random.Generator) -> FloatArray:
    """The vectors, and as many new ones behind them as are missing, small and random like those of a new fit."""
    scale = 0.1 * np.sqrt(3.0 / vectors.shape[1])
    new = random.uniform(-scale, scale, (n_rows - len(vectors), vectors.shape[1]))
    return np.vstack([vectors, new.astype(np.float32)])


def _placed(factors: SgdFactors, features: CSR, n_known: int) -> SgdFactors:
    """Put new items at the sums of their features' vectors, learned from the ``n_known`` items before them."""
    items = np.column_stack([factors.item_factors, factors.item_bias])
    vectors = FeatureMeans(features, np.arange(n_known), ridge=1.0).vectors(items).astype(np.float32)
    items[n_known:] = features[n_known:] @ vectors
    return replace(
        factors,
        item_factors=items[:, :-1],
        item_bias=items[:, -1],
        item_feature_factors=vectors[:, :-1],
        item_feature_bias=vectors[:, -1],
    )


def _held(factors: SgdFactors, start: SgdFactors, had: Index32Array) -> SgdFactors:
    """The factors with the features' vectors of the start, and with its items where nobody ``had`` them.

    Without features, training may draw these to compare with others.
    """
    cold = np.bincount(had, minlength=len(start.item_bias)) == 0
    return replace(
        start,
        user_factors=factors.user_factors,
        item_factors=np.where(cold[:, None], start.item_factors, factors.item_factors),
        item_bias=np.where(cold, start.item_bias, factors.item_bias),
    )


def _features(
    interactions: Interactions, what: str, columns: tuple[str, ...]
) -> tuple[FeatureEncoder | None, CSR | None]:
    if not columns:
        return None, None
    table = interactions.item_features if what == "item" else interactions.user_features
    table = require_table(table, columns, what)
    encoder = FeatureEncoder.from_table(table, columns=columns)
    return encoder, _unit_rows(encoder.encode(table))


def _unit_rows(features: CSR) -> CSR:
    lengths = np.sqrt(np.asarray(features.multiply(features).sum(axis=1), dtype=np.float32)).ravel()
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return cast("CSR", (sp.diags(scale) @ features).tocsr().astype(np.float32))
