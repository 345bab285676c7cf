"""What is under test: whatever a plugin registered, and a recommender with the few things every check does with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.data import Interactions
from recsys_core.errors import DTypeError
from recsys_core.models import Recommender
from recsys_core.registry import Entry, default_registry, resolve
from recsys_core.testing.data import block_interactions
from recsys_core.types import IndexArray

__all__ = ["Registered", "Subject", "questions"]


@dataclass(frozen=True, eq=False)
class Registered:
    """Something under test that a plugin registers, or could.

    Parameters
    ----------
    name
        What reports call it.
    factory
        What makes it: its class, or a function.
    settings
        Settings to make it with.
    entry
        How a plugin registers it, or None when the factory was given.
    """

    kind: ClassVar[str] = ""
    contract: ClassVar[type | None] = None

    name: str
    factory: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    entry: Entry | None = None

    @classmethod
    def of(cls, what: str | Entry | Any, settings: Mapping[str, Any] | None = None) -> Self:
        """From a registered name, an entry of a registry, or a factory.

        Raises
        ------
        UnknownModelError
            No plugin registers the name.
        PluginError
            The factory cannot be imported.
        DTypeError
            ``what`` is something else, such as a thing that has been made already.
        """
        settings = dict(settings or {})
        if isinstance(what, str):
            what = default_registry().find(what, cls.kind)
        if isinstance(what, Entry):
            return cls(what.qualified_name, resolve(what.spec.factory), settings, what)
        # Of a contract that is a class, only a subclass can be a factory; a function may make anything.
        right = isinstance(what, type) and issubclass(what, cls.contract) if cls.contract else callable(what)
        if right:
            return cls(what.__name__, what, settings)
        expected = f"a subclass of {cls.contract.__name__}" if cls.contract else "what makes it"
        raise DTypeError(f"{cls.kind}: expected a registered name, an Entry or {expected}, got {what!r}.")

    def create(self, **settings: Any) -> Any:
        """Make it with exactly these settings."""
        return self.entry.create(**settings) if self.entry else self.factory(**settings)


@dataclass(frozen=True, eq=False)
class Subject(Registered):
    """A recommender under test; ``factory`` is its class."""

    kind = "recommender"
    contract = Recommender

    factory: type[Recommender]

    def make(self, **changed: Any) -> Recommender:
        """A new unfitted model, with some settings changed."""
        model: Recommender = self.create(**{**self.settings, **changed})
        return model

    def make_with_defaults(self) -> Recommender:
        """A new unfitted model without any setting."""
        model: Recommender = self.create()
        return model

    def fit(self, interactions: Interactions | None = None) -> Recommender:
        """A new model fitted on ``interactions``, by default on new standard data."""
        model = self.make()
        model.fit(block_interactions() if interactions is None else interactions)
        return model

    @cached_property
    def fitted(self) -> Recommender:
        """A fitted model that the checks of its answers share and do not change."""
        return self.fit()


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
