"""The registry of plugins: hooks, inert specs, an isolating loader, and ``create``."""

from __future__ import annotations

from recsys_core.registry.hookspecs import ENTRY_POINT_GROUP, HOOKS, hookimpl
from recsys_core.registry.loader import PluginRecord
from recsys_core.registry.registry import (
    Entry,
    Registry,
    create,
    create_reranker,
    default_registry,
    list_models,
    load_dataset,
)
from recsys_core.registry.specs import (
    API_VERSION,
    OLDEST_API_VERSION,
    DatasetSpec,
    EncoderSpec,
    KitSpec,
    MetricSpec,
    RecommenderSpec,
    RerankerSpec,
    Spec,
    resolve,
)

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "HOOKS",
    "OLDEST_API_VERSION",
    "DatasetSpec",
    "EncoderSpec",
    "Entry",
    "KitSpec",
    "MetricSpec",
    "PluginRecord",
    "RecommenderSpec",
    "Registry",
    "RerankerSpec",
    "Spec",
    "create",
    "create_reranker",
    "default_registry",
    "hookimpl",
    "list_models",
    "load_dataset",
    "resolve",
]
