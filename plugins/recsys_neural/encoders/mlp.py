"""Fields side by side, through fully connected layers."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from recsys_core import Config
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding

__all__ = ["MlpConfig", "MlpEncoder"]


class MlpConfig(Config):
    """Settings of :class:`MlpEncoder`."""

    n_hidden: int = Field(128, ge=1, description="Width of the hidden layers.")
    n_layers: int = Field(1, ge=1, description="Number of hidden layers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the inputs of each layer that training leaves out.")


class MlpEncoder(Encoder):
    """A multi-layer perceptron over all that is known, side by side, beside a linear path.

    A field that is missing is a vector of its own for numbers, and zero otherwise; a history is the mean of its items.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`MlpConfig`.
    """

    config_class = MlpConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        self.embedding = EntityEmbedding(inputs, n_dims)
        width = self.embedding.n_fields * n_dims
        self.linear = nn.Linear(width, n_dims)
        layers: list[nn.Module] = []
        for _ in range(self.config.n_layers):
            layers += [nn.Dropout(self.config.dropout), nn.Linear(width, self.config.n_hidden), nn.GELU()]
            width = self.config.n_hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_dims))

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        fields = self.embedding.fields(batch).flatten(1)
        encoded: Tensor = self.linear(fields) + self.layers(fields)
        return encoded
