"""A bag of what is known, weighed by what matters: made for titles and descriptions."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from recsys_core import Config
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding

__all__ = ["TextConfig", "TextEncoder"]


class TextConfig(Config):
    """Settings of :class:`TextEncoder`."""

    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the tokens that training leaves out.")


class TextEncoder(Encoder):
    r"""Weighted means of n-grams and of the other tokens, and one hidden layer.

    .. math:: e = W \, \mathrm{gelu}(V m) + m, \qquad m = \sum_j a_j x_j \Big/ \sum_j a_j, \qquad a_j = e^{w_j}

    where :math:`x_j` are the n-grams of a text with a learned weight each, as tf-idf has a fixed one, and then, in the
    same way, the text beside what else is known: numbers, categories, or the items of a history.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`TextConfig`.

    Notes
    -----
    Texts arrive as hashed n-grams, or as the vectors of a sentence-transformer; which one is chosen where the features
    are prepared, since every encoder can use either.
    """

    config_class = TextConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        self.embedding = EntityEmbedding(inputs, n_dims, weigh_ngrams=True)
        self.weight = nn.Linear(n_dims, 1)
        self.dropout = nn.Dropout1d(self.config.dropout)
        self.hidden = nn.Sequential(nn.Linear(n_dims, 2 * n_dims), nn.GELU(), nn.Linear(2 * n_dims, n_dims))

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        tokens, mask = self.embedding(batch)
        weights: Tensor = self.weight(tokens).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(dim=1)
        mean = (self.dropout(tokens) * weights.unsqueeze(-1)).sum(dim=1)
        encoded: Tensor = mean + self.hidden(mean)
        return encoded
