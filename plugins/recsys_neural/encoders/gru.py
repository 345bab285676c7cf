"""A recurrent network over the tokens of an entity."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from recsys_core import Config
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding
from recsys_neural.networks import GruNetwork

__all__ = ["GruConfig", "GruEncoder"]


class GruConfig(Config):
    """Settings of :class:`GruEncoder`."""

    n_units: int = Field(64, ge=1, description="Length of the state.")
    n_layers: int = Field(1, ge=1, description="Layers of gated recurrent units.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the tokens' numbers that training leaves out.")


class GruEncoder(Encoder):
    """Gated recurrent units from the oldest token to the newest; the last state is the answer.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`GruConfig`.

    References
    ----------
    B. Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, section 3.
    """

    config_class = GruConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        config = self.config
        self.embedding = EntityEmbedding(inputs, n_dims)
        self.network = GruNetwork(n_dims, n_units=config.n_units, n_layers=config.n_layers, dropout=config.dropout)

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        tokens, mask = self.embedding(batch)
        encoded: Tensor = self.network(tokens, mask)[:, -1]
        return encoded
