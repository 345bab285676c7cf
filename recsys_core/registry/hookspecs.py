"""The hooks that a plugin may implement.

A plugin is a module, named by an entry point in the group ``recsys_core.plugins``.  Each hook returns a list of specs
and must not import what they name.
"""

from __future__ import annotations

import pluggy

from recsys_core.registry.specs import (
    DatasetSpec,
    EncoderSpec,
    KitSpec,
    MetricSpec,
    RecommenderSpec,
    RerankerSpec,
    Spec,
)

__all__ = ["ENTRY_POINT_GROUP", "HOOKS", "hookimpl"]

ENTRY_POINT_GROUP = "recsys_core.plugins"
"""The group of entry points under which a distribution declares its plugin modules."""

hookspec = pluggy.HookspecMarker("recsys_core")
hookimpl = pluggy.HookimplMarker("recsys_core")
"""Marks a plugin's implementation of a hook."""


@hookspec
def recsys_recommenders() -> list[RecommenderSpec]:
    """Recommender models."""
    raise AssertionError("a hook specification is never called")


@hookspec
def recsys_encoders() -> list[EncoderSpec]:
    """Encoders of users and items."""
    raise AssertionError("a hook specification is never called")


@hookspec
def recsys_metrics() -> list[MetricSpec]:
    """Evaluation metrics."""
    raise AssertionError("a hook specification is never called")


@hookspec
def recsys_rerankers() -> list[RerankerSpec]:
    """Re-rankers of a model's candidates."""
    raise AssertionError("a hook specification is never called")


@hookspec
def recsys_datasets() -> list[DatasetSpec]:
    """Data sets that can be loaded by name."""
    raise AssertionError("a hook specification is never called")


@hookspec
def recsys_kits() -> list[KitSpec]:
    """Conformance kits of the kinds whose contract the plugin defines."""
    raise AssertionError("a hook specification is never called")


HOOKS: dict[str, type[Spec]] = {
    "recsys_recommenders": RecommenderSpec,
    "recsys_encoders": EncoderSpec,
    "recsys_metrics": MetricSpec,
    "recsys_rerankers": RerankerSpec,
    "recsys_datasets": DatasetSpec,
    "recsys_kits": KitSpec,
}
"""Hook name to the kind of spec that it returns."""
