"""The contract of a recommender: the one class that a plugin author subclasses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias

from recsys_core.data import Interactions
from recsys_core.errors import DataError, DTypeError, NotFittedError, PluginError
from recsys_core.models.config import Config, build_config
from recsys_core.models.fitted import FittedModel, Provenance
from recsys_core.models.forms import Form
from recsys_core.models.update import Update, grow

if TYPE_CHECKING:
    import polars as pl

    from recsys_core.data import Histories, IdMap
    from recsys_core.models.reranked import RerankedModel
    from recsys_core.models.reranker import Reranker
    from recsys_core.types import FloatArray, Ranking

__all__ = ["Monitor", "Progress", "Recommender"]

Monitor: TypeAlias = Callable[[int, int, Callable[[], FittedModel]], None]
"""Called as ``monitor(done, total, model)`` while a model trains, where ``model()`` makes the model as it stands."""


class Progress(Protocol):
    """What ``fit_form`` is given to tell how far it is."""

    def __call__(self, done: int, total: int, form: Callable[[], Form] | None = None) -> None:
        """Tell that ``done`` of ``total`` steps are done; it may raise to stop the training.

        Parameters
        ----------
        done, total
            Steps, 0 <= done <= total.
        form
            Makes the scoring form that training would return if it ended here.  It is called before this call
            returns, or not at all.
        """


class Recommender(ABC):
    """Base of every recommender.

    A subclass names its config and says how to get from interactions to a scoring form.  Recommending, saving,
    loading, exporting to ONNX, evaluating and serving then work without another line.

    Parameters
    ----------
    **settings
        Fields of ``config_class``.

    Attributes
    ----------
    config
        The checked settings.
    fitted_
        The :class:`~recsys_core.models.FittedModel`, after ``fit``.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_core import Interactions, Recommender, StaticForm
    >>> class MostSold(Recommender):
    ...     def fit_form(self, interactions, progress):
    ...         return StaticForm(np.asarray(interactions.to_csr().sum(axis=0), np.float32).ravel())
    >>> sales = Interactions.from_arrays(["ann", "bob", "bob"], ["tea", "tea", "rum"])
    >>> MostSold().fit(sales).recommend("ann")["item_id"].to_list()
    ['rum']
    """

    config_class: ClassVar[type[Config]] = Config
    provenance: Provenance | None = None
    """Set by :func:`recsys_core.create`; a class that is used directly is known by its class name."""

    def __init__(self, **settings: Any) -> None:
        self.config = build_config(self.config_class, settings, model=type(self).__name__)

    @abstractmethod
    def fit_form(self, interactions: Interactions, progress: Progress) -> Form:
        """Train, and return what was learned as a scoring form over ``interactions.users`` and ``.items``.

        Parameters
        ----------
        interactions
            Training data; ``interactions.to_csr()`` is the user-by-item matrix.
        progress
            Call ``progress(done, total)`` from time to time.  It may raise to stop the training.  A model that learns
            in steps also passes how to make its form so far: ``progress(done, total, lambda: DotForm(...))``; tuning
            then gives up early on settings that lead nowhere.
        """

    def fit(
        self,
        interactions: Interactions,
        *,
        progress: Callable[[int, int], object] | None = None,
        monitor: Monitor | None = None,
    ) -> Self:
        """Train on ``interactions``; a second call trains anew.

        Parameters
        ----------
        interactions
            Training data.  Item and user indices of the model are those of its id maps.
        progress
            Called as ``progress(done, total)`` while training.
        monitor
            Called as ``monitor(done, total, model)`` by models that learn in steps, where ``model()`` makes the
            :class:`~recsys_core.models.FittedModel` as it stands after ``done`` of ``total`` steps.  What it raises
            stops the training and reaches the caller.

        Returns
        -------
        Self

        Raises
        ------
        DTypeError
            ``interactions`` is something else, such as a data frame.
        PluginError
            The model's ``fit_form`` returned something that is not a scoring form.
        """
        _require_interactions(interactions)

        def report(done: int, total: int, form: Callable[[], Form] | None = None) -> None:
            # What a progress bar returns must not reach a core that takes a true value for "stop".
            if progress is not None:
                progress(done, total)
            if monitor is not None and form is not None:
                make_form = form
                monitor(done, total, lambda: self._wrap(make_form(), interactions))

        self.fitted_ = self._wrap(self.fit_form(interactions, report), interactions)
        return self

    def _wrap(self, form: Form, interactions: Interactions) -> FittedModel:
        provenance = self.provenance or Provenance(
            type(self).__name__, type(self).__module__, config=self.config.model_dump(mode="json")
        )
        return FittedModel(
            _require_form(form, f"{type(self).__name__}.fit_form"),
            interactions.users,
            interactions.items,
            interactions.histories(),
            interactions.item_features,
            provenance,
        )

    def update_form(self, update: Update) -> Form:
        """Return the form after new interactions; a model that defines it can be updated by :meth:`partial_fit`.

        Parameters
        ----------
        update
            The model as it was, the new events, and the ids and histories that they have grown.  The form must be
            over the grown ids, and in arrays of its own.
        """
        raise DataError(
            f"partial_fit: expected a model that can take new interactions, got {type(self).__name__}; fit it again on "
            "all of them, or use one that `recsys models list` shows with partial-fit."
        )

    def partial_fit(self, interactions: Interactions) -> Self:
        """Take in interactions that came after those the model was fitted on.

        New users and items are added behind the known ones, whose indices stay.  What else changes is up to the model:
        its notes say whether it then is what ``fit`` on everything would give.  A model that is not fitted is fitted.

        Parameters
        ----------
        interactions
            New events only.  They count as later than all before.

        Returns
        -------
        Self
            With a new ``fitted_``: whoever holds the old one can go on asking it meanwhile.

        Raises
        ------
        DataError
            The model, or the model with these settings, cannot be updated.
        DTypeError
            ``interactions`` is something else, or its ids are of another type than the model's.
        """
        if getattr(self, "fitted_", None) is None:
            return self.fit(interactions)
        _require_interactions(interactions)
        update = grow(self.fitted, interactions)
        form = _require_form(self.update_form(update), f"{type(self).__name__}.update_form")
        # Not replace(): a bundle being served has a graph beside its form, which knows nothing of the new one.
        self.fitted_ = FittedModel(
            form, update.users, update.items, update.histories, update.item_features, update.before.provenance
        )
        return self

    def adopt(self, fitted: FittedModel) -> Self:
        """Go on from a model that was fitted elsewhere, such as one read from a bundle.

        Parameters
        ----------
        fitted
            Fitted by a recommender of this class and with these settings.

        Returns
        -------
        Self
            As after ``fit``.
        """
        self.fitted_ = fitted
        return self

    @property
    def fitted(self) -> FittedModel:
        """The fitted model.

        Raises
        ------
        NotFittedError
            ``fit`` has not been called.
        """
        fitted: FittedModel | None = getattr(self, "fitted_", None)
        if fitted is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(interactions) first.")
        return fitted

    @property
    def form(self) -> Form:
        """The scoring form, after ``fit``."""
        return self.fitted.form

    @property
    def users(self) -> IdMap:
        """Ids of the training users, after ``fit``."""
        return self.fitted.users

    @property
    def items(self) -> IdMap:
        """Ids of the training items, after ``fit``."""
        return self.fitted.items

    @property
    def histories(self) -> Histories:
        """What each training user had, after ``fit``."""
        return self.fitted.histories

    def recommend(self, users: Any = None, **options: Any) -> pl.DataFrame:
        """Recommend by id; see :meth:`FittedModel.recommend <recsys_core.models.FittedModel.recommend>`."""
        return self.fitted.recommend(users, **options)

    def recommend_indices(self, user_index: Any = None, **options: Any) -> Ranking:
        """Recommend by index; see :meth:`FittedModel.recommend_indices`."""
        return self.fitted.recommend_indices(user_index, **options)

    def score(self, users: Any = None, **options: Any) -> pl.DataFrame:
        """Scores of given pairs by id; see :meth:`FittedModel.score <recsys_core.models.FittedModel.score>`."""
        return self.fitted.score(users, **options)

    def score_indices(self, user_index: Any = None, **options: Any) -> FloatArray:
        """Scores of given pairs by index; see :meth:`FittedModel.score_indices`."""
        return self.fitted.score_indices(user_index, **options)

    def similar_items(self, item_ids: Any, k: int = 10, **options: Any) -> pl.DataFrame:
        """Items most alike; see :meth:`FittedModel.similar_items`."""
        return self.fitted.similar_items(item_ids, k, **options)

    def explain(self, users: Any = None, **options: Any) -> pl.DataFrame:
        """What recommendations rest on; see :meth:`FittedModel.explain`."""
        return self.fitted.explain(users, **options)

    def without_users(self, users: Any) -> FittedModel:
        """The fitted model without some of its users; see :meth:`FittedModel.without_users`."""
        return self.fitted.without_users(users)

    def reranked(self, reranker: Reranker, n_candidates: int = 100) -> RerankedModel:
        """The fitted model with a re-ranker behind it; see :meth:`FittedModel.reranked`."""
        return self.fitted.reranked(reranker, n_candidates)

    def __repr__(self) -> str:
        changed = self.config.model_dump(exclude_defaults=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _require_interactions(interactions: Any) -> None:
    if not isinstance(interactions, Interactions):
        raise DTypeError(
            f"interactions: expected Interactions, got {type(interactions).__name__}; "
            "make them with Interactions.from_frame, from_csr or read."
        )


def _require_form(form: Any, source: str) -> Form:
    if not isinstance(form, Form):
        expected = "DotForm, ItemItemForm, PairForm or StaticForm"
        raise PluginError(f"{source}: expected a {expected}, got {type(form).__name__}.")
    return form
