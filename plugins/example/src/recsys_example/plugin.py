"""What this package offers; it names the model without importing it."""

from __future__ import annotations

from recsys_core.registry import RecommenderSpec, hookimpl


@hookimpl
def recsys_recommenders() -> list[RecommenderSpec]:
    """One recommender."""
    return [
        RecommenderSpec(
            name="next_item",
            factory="recsys_example.model:NextItem",
            config="recsys_example.model:NextItemConfig",
            summary="What tends to follow the items of a history.",
            capabilities=frozenset({"known-users", "histories", "similar-items"}),
        )
    ]
