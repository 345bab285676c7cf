"""Convolutions over the tokens of an entity."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsys_core import Config
from recsys_core.errors import ConfigError
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding

__all__ = ["CnnConfig", "CnnEncoder"]


class CnnConfig(Config):
    """Settings of :class:`CnnEncoder`."""

    over: Literal["sequence", "matrix"] = Field(
        "sequence", description="Slide over tokens, all features at once, or over tokens by features as an image."
    )
    n_filters: int = Field(32, ge=1, description="Filters of each height.")
    heights: tuple[int, ...] = Field((1, 2, 3), description="Tokens that a filter sees, each at least 1.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the pooled activations that training leaves out.")


class CnnEncoder(Encoder):
    """Filters of several heights over the sequence of tokens, and the largest response of each, beside the mean.

    Over the "sequence", a filter spans all features of ``height`` neighbouring tokens, as in Kim, "Convolutional Neural
    Networks for Sentence Classification", EMNLP 2014.  Over the "matrix", tokens by features are an image of one
    channel: filters of ``height`` tokens by 3 features, twice, so that patterns may shift along both.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`CnnConfig`.

    Raises
    ------
    ConfigError
        There is no height, or one is below 1.
    """

    config_class = CnnConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        heights, n_filters = self.config.heights, self.config.n_filters
        if not heights or min(heights) < 1:
            raise ConfigError(f"CnnEncoder.heights: expected heights of at least 1, got {heights!r}.")
        self.embedding = EntityEmbedding(inputs, n_dims)
        if self.config.over == "sequence":
            self.filters = nn.ModuleList(_Filters([nn.Conv1d(n_dims, n_filters, height)]) for height in heights)
            n_found = n_filters * len(heights)
        else:
            self.filters = nn.ModuleList(
                _Filters([nn.Conv2d(1, n_filters, (height, 3)), nn.Conv2d(n_filters, n_filters, (height, 3))])
                for height in heights
            )
            n_found = n_filters * n_dims * len(heights)
        self.head = nn.Sequential(nn.Dropout(self.config.dropout), nn.Linear(n_found + n_dims, n_dims))

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        tokens, mask = self.embedding(batch)
        there = mask.unsqueeze(1)
        image = tokens.transpose(1, 2)  # [B, features, T]
        mean = image.sum(dim=2) / there.sum(dim=2)
        if self.config.over == "matrix":
            image, there = tokens.unsqueeze(1), there.unsqueeze(-1)  # [B, 1, T, features]
        found = []
        for filters in self.filters:
            responses = filters(image, there).masked_fill(~there, -torch.inf)
            found.append(responses.amax(dim=2).flatten(1))
        encoded: Tensor = self.head(torch.cat([*found, mean], dim=1))
        return encoded


class _Filters(nn.Module):
    """Convolutions that see zeros in front, as before the first token, so that padding changes nothing."""

    def __init__(self, layers: list[nn.Conv1d] | list[nn.Conv2d]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.height = layers[0].kernel_size[0]

    def forward(self, image: Tensor, there: Tensor) -> Tensor:
        for layer in self.layers:
            before = (self.height - 1, 0) if image.dim() == 3 else (1, 1, self.height - 1, 0)
            image = nn.functional.gelu(layer(nn.functional.pad(image, before))) * there
        return image
