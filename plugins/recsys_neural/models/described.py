"""What recommenders have in common that read features of items and users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsys_core import Interactions
from recsys_core.data import FeaturePreparation
from recsys_core.errors import ConfigError
from recsys_core.models import SearchRange
from recsys_neural.encoders import EntityInputs
from recsys_neural.models.trained import TrainedRecommender
from recsys_neural.training import TrainingConfig

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DescribedConfig", "DescribedRecommender"]


class DescribedConfig(TrainingConfig):
    """Settings of every model that reads features."""

    item_ids: bool = Field(True, description="Whether each item has a learned vector beside its features.")
    id_dropout: Annotated[float, SearchRange(0.0, 0.5)] = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the items whose learned vector a step leaves out, where there are features.",
    )
    text_columns: tuple[str, ...] | None = Field(
        None, description="Feature columns to read as texts; by default those that look like titles."
    )
    text_model: str | None = Field(None, description="Sentence-transformer in ONNX to read texts with; else n-grams.")
    n_buckets: int = Field(10_000, ge=1, description="Numbers that n-grams are hashed to.")
    min_count: int = Field(2, ge=1, description="Rows that a categorical value needs to be learned.")


class DescribedRecommender(TrainedRecommender):
    """Base of the recommenders that turn feature tables into arrays for encoders.

    Attributes
    ----------
    item_preparation_
        How item features became numbers, or None without features.
    user_preparation_
        The same of user features.
    """

    config: DescribedConfig
    item_preparation_: FeaturePreparation | None
    user_preparation_: FeaturePreparation | None

    def item_arrays(self, interactions: Interactions) -> tuple[dict[str, Tensor], EntityInputs]:
        """What is known of each item of the catalogue, and what an encoder of items is built from.

        Raises
        ------
        ConfigError
            Items have neither features nor vectors of their own.
        """
        features = interactions.item_features
        trained = np.bincount(interactions.item_index, minlength=interactions.n_items) > 0
        arrays: dict[str, Tensor] = {}
        sizes: dict[str, Any] = {}
        self.item_preparation_ = None
        if features is not None and features.width > 1:
            self.item_preparation_ = self._preparation(features.filter(trained))
            arrays, sizes = _prepared(self.item_preparation_, features)
        if self.config.item_ids:
            # An item without events has no vector that training could have learned.
            arrays["id"] = torch.from_numpy(np.where(trained, np.arange(len(trained)), -1))
        elif not sizes:
            raise ConfigError(
                "item_ids: expected True where items have no features, got False; nothing else is known of an item."
            )
        return arrays, EntityInputs(n_ids=len(trained) if self.config.item_ids else 0, **sizes)

    def user_arrays(
        self, interactions: Interactions, preparation: FeaturePreparation | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What features say of each user, and the fields of ``EntityInputs`` that describe it; both may be empty.

        They are read by ``preparation`` if there is one, instead of one that is learned from them.
        """
        features = interactions.user_features
        self.user_preparation_ = None
        if features is None or features.width == 1:
            return {}, {}
        self.user_preparation_ = self._preparation(features) if preparation is None else preparation
        return _prepared(self.user_preparation_, features)

    @property
    def hidden_ids(self) -> float:
        """Share of the items whose id training hides: none where the id is all that is known."""
        return 0.0 if self.item_preparation_ is None else self.config.id_dropout

    def _preparation(self, features: pl.DataFrame) -> FeaturePreparation:
        config = self.config
        texts = config.text_columns
        return FeaturePreparation.from_table(
            features,
            text_columns=None if texts is None else [name for name in texts if name in features.columns],
            n_buckets=config.n_buckets,
            text_model=config.text_model,
            min_count=config.min_count,
        )


def _prepared(preparation: FeaturePreparation, table: pl.DataFrame) -> tuple[dict[str, Tensor], dict[str, Any]]:
    arrays = preparation.arrays(table)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, preparation.sizes(arrays)
