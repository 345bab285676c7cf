"""What this plugin offers: descriptions only, so that listing the models imports neither them nor torch."""

from __future__ import annotations

from recsys_core.registry import EncoderSpec, RecommenderSpec, hookimpl


@hookimpl
def recsys_recommenders() -> list[RecommenderSpec]:
    """The neural recommenders."""
    return []


@hookimpl
def recsys_encoders() -> list[EncoderSpec]:
    """The encoders of users and items."""
    return []
