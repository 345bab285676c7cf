"""What this distribution registers: inert specs, so that listing data sets loads none."""

from __future__ import annotations

from recsys_core.registry import DatasetSpec, hookimpl

__all__ = ["recsys_datasets"]


@hookimpl
def recsys_datasets() -> list[DatasetSpec]:
    """Name the public data sets."""
    return [
        DatasetSpec(
            name="ml-100k",
            factory="recsys_datasets.movielens:load_ml_100k",
            summary="MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, 1997 to 1998",
            capabilities=frozenset({"ratings", "times", "item-features", "user-features"}),
        ),
        DatasetSpec(
            name="ml-latest-small",
            factory="recsys_datasets.movielens:load_ml_latest_small",
            summary="MovieLens latest-small: about 100,000 ratings of 9,700 films by 610 people, 1996 to 2018",
            capabilities=frozenset({"ratings", "times", "item-features"}),
        ),
        DatasetSpec(
            name="beauty-s3rec",
            factory="recsys_datasets.beauty:load_beauty_s3rec",
            summary="Amazon Beauty, 5-core, as S3-Rec prepared it: the item sequences of 22,363 people, no times",
            capabilities=frozenset({"sequences", "item-features"}),
        ),
    ]
