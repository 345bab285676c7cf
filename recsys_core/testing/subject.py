"""The recommender under test, and the few things that every check does with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np

from recsys_core.data import Interactions
from recsys_core.errors import DTypeError
from recsys_core.models import Recommender
from recsys_core.registry import Entry, default_registry, resolve
from recsys_core.testing.data import block_interactions
from recsys_core.types import IndexArray

__all__ = ["Subject", "questions"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A recommender under test.

    Parameters
    ----------
    name
        What reports call it.
    factory
        Its class.
    settings
        Settings to make it with.
    entry
        How a plugin registers it, or None when the class was given.
    """

    name: str
    factory: type[Recommender]
    settings: Mapping[str, Any] = field(default_factory=dict)
    entry: Entry | None = None

    @classmethod
    def of(cls, model: str | Entry | type[Recommender], settings: Mapping[str, Any] | None = None) -> Subject:
        """From a registered name, an entry of a registry, or a class.

        Raises
        ------
        UnknownModelError
            No plugin registers the name.
        PluginError
            The class cannot be imported.
        DTypeError
            ``model`` is something else, such as a model that has been made already.
        """
        settings = dict(settings or {})
        if isinstance(model, str):
            model = default_registry().find(model)
        if isinstance(model, Entry):
            return cls(model.qualified_name, cast("type[Recommender]", resolve(model.spec.factory)), settings, model)
        if isinstance(model, type) and issubclass(model, Recommender):  # type: ignore[redundant-expr]
            return cls(model.__name__, model, settings)
        raise DTypeError(f"model: expected a registered name, an Entry or a subclass of Recommender, got {model!r}.")

    def make(self, **changed: Any) -> Recommender:
        """A new unfitted model, with some settings changed."""
        return self._create({**self.settings, **changed})

    def make_with_defaults(self) -> Recommender:
        """A new unfitted model without any setting."""
        return self._create({})

    def fit(self, interactions: Interactions | None = None) -> Recommender:
        """A new model fitted on ``interactions``, by default on new standard data."""
        model = self.make()
        model.fit(block_interactions() if interactions is None else interactions)
        return model

    @cached_property
    def fitted(self) -> Recommender:
        """A fitted model that the checks of its answers share and do not change."""
        return self.fit()

    def _create(self, settings: Mapping[str, Any]) -> Recommender:
        model: Recommender = self.entry.create(**settings) if self.entry else self.factory(**settings)
        return model


def questions(model: Recommender, rows: IndexArray | None = None) -> dict[str, dict[str, Any]]:
    """The ways to ask ``model`` for some training users, by default all: as users, and by what they had.

    Each is a keyword argument of ``recommend_indices``.
    """
    if rows is None:
        rows = np.arange(len(model.users))
    asked: dict[str, dict[str, Any]] = {"users": {"user_index": rows}}
    if model.form.accepts_histories:
        asked["histories"] = {"histories": model.histories.rows(rows)}
    return asked
