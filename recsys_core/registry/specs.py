"""What a plugin registers: inert descriptions, so that discovering a plugin imports none of its models."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from recsys_core.errors import PluginError

__all__ = [
    "API_VERSION",
    "OLDEST_API_VERSION",
    "DatasetSpec",
    "EncoderSpec",
    "KitSpec",
    "MetricSpec",
    "RecommenderSpec",
    "RerankerSpec",
    "Spec",
    "resolve",
]

API_VERSION = 1
"""The plugin interface that this version of recsys-core speaks."""
OLDEST_API_VERSION = 1
"""The oldest plugin interface that it still accepts."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")


@dataclass(frozen=True)
class Spec:
    """Description of one thing that a plugin offers; use the subclass of its kind.

    Parameters
    ----------
    name
        How users ask for it: lower-case letters, digits, ``-`` and ``_``, a letter first.
    factory
        ``"package.module:Attribute"``, imported only when the thing is asked for.
    config
        ``"package.module:Config"`` of its settings, or "" when it has none.
    summary
        One line for listings.
    capabilities
        Free words to filter listings by, such as ``"cold-start"``.
    api
        The plugin interface it was written for.

    Raises
    ------
    PluginError
        A field is malformed.
    """

    kind: ClassVar[str] = ""

    name: str
    factory: str
    config: str = ""
    summary: str = ""
    capabilities: frozenset[str] = field(default_factory=frozenset)
    api: int = API_VERSION

    def __post_init__(self) -> None:
        for attribute in ("name", "factory", "config", "summary"):
            text = getattr(self, attribute)
            if not isinstance(text, str):
                raise PluginError(f"{self.name!r}.{attribute}: expected a string, got {text!r}.")
        if isinstance(self.capabilities, str):
            raise PluginError(
                f"{self.name}.capabilities: expected a set of words, got the string {self.capabilities!r}."
            )
        object.__setattr__(self, "capabilities", frozenset(self.capabilities))
        if type(self.api) is not int:
            raise PluginError(f"{self.name}.api: expected an integer, got {self.api!r}.")
        if not _NAME.match(self.name):
            raise PluginError(
                f"name: expected lower-case letters, digits, '-' and '_', a letter first, got {self.name!r}."
            )
        for attribute in ("factory", "config"):
            target = getattr(self, attribute)
            if (target or attribute == "factory") and not _TARGET.match(target):
                raise PluginError(f"{self.name}.{attribute}: expected 'package.module:Attribute', got {target!r}.")


@dataclass(frozen=True)
class RecommenderSpec(Spec):
    """A :class:`~recsys_core.models.Recommender`."""

    kind: ClassVar[str] = "recommender"


@dataclass(frozen=True)
class EncoderSpec(Spec):
    """A module that turns a user's or an item's data into a vector, for recommenders that take one."""

    kind: ClassVar[str] = "encoder"


@dataclass(frozen=True)
class MetricSpec(Spec):
    """A :class:`~recsys_core.metrics.Metric`."""

    kind: ClassVar[str] = "metric"


@dataclass(frozen=True)
class RerankerSpec(Spec):
    """A :class:`~recsys_core.models.Reranker`."""

    kind: ClassVar[str] = "reranker"


@dataclass(frozen=True)
class DatasetSpec(Spec):
    """A function that returns :class:`~recsys_core.data.Interactions`."""

    kind: ClassVar[str] = "dataset"


@dataclass(frozen=True)
class KitSpec(Spec):
    """A function that returns the :class:`~recsys_core.testing.Kit` of the kind that it is called after.

    For kinds whose contract a plugin defines, as that of encoders.
    """

    kind: ClassVar[str] = "kit"


def resolve(target: str) -> Any:
    """Import ``"package.module:Attribute"``.

    Raises
    ------
    PluginError
        The module cannot be imported, or has no such attribute; the cause is attached.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as cause:
        raise PluginError(f"{target}: cannot be imported ({type(cause).__name__}: {cause}).") from cause
