"""Blocks of self-attention over the tokens of an entity."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from recsys_core import Config
from recsys_core.errors import ConfigError
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding
from recsys_neural.networks import TransformerNetwork

__all__ = ["TransformerConfig", "TransformerEncoder"]


class TransformerConfig(Config):
    """Settings of :class:`TransformerEncoder`."""

    n_blocks: int = Field(1, ge=1, description="Blocks of attention and a network.")
    n_heads: int = Field(2, ge=1, description="Attention heads; a divisor of the vectors' length.")
    expansion: int = Field(2, ge=1, description="Width of a block's network, in multiples of the vectors' length.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of each branch that training leaves out.")


class TransformerEncoder(Encoder):
    """A Transformer over the tokens; what its last token, the same for everybody, has gathered is the answer.

    Places are counted from the newest token.  A token sees itself and those before it, so that features, which come
    first, inform all of a history, and the last token sees everything.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`TransformerConfig`.

    Raises
    ------
    ConfigError
        ``n_dims`` is not a multiple of ``n_heads``.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017; blocks with the norm before each branch.
    """

    config_class = TransformerConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        config = self.config
        if n_dims % config.n_heads:
            raise ConfigError(
                f"TransformerEncoder.n_heads: expected a divisor of n_dims, {n_dims}, got {config.n_heads}."
            )
        self.embedding = EntityEmbedding(inputs, n_dims)
        self.network = TransformerNetwork(
            n_dims,
            n_blocks=config.n_blocks,
            n_heads=config.n_heads,
            dropout=config.dropout,
            expansion=config.expansion,
            max_length=self.embedding.max_tokens,
            block="standard",
        )

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        tokens, mask = self.embedding(batch)
        encoded: Tensor = self.network(tokens, mask)[:, -1]
        return encoded
