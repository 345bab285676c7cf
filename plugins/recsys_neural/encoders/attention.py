"""Attention over the tokens of an entity, by learned questions or by what it is compared with."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from recsys_core import Config
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding

__all__ = ["AttentionConfig", "AttentionEncoder", "TargetAttention"]


class AttentionConfig(Config):
    """Settings of :class:`AttentionEncoder`."""

    n_heads: int = Field(2, ge=1, description="Questions asked of the tokens.")
    n_hidden: int = Field(64, ge=1, description="Width of the layer in which they are asked.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the attention that training leaves out.")


class AttentionEncoder(Encoder):
    r"""Self-attention pooling: each head takes a mean of the tokens with weights of its own.

    .. math:: A = \mathrm{softmax}\big(U \tanh(V X^\top + p)\big), \qquad e = W \, \mathrm{vec}(A X)

    with tokens *X* and what the place of a token, counted from the newest, adds (*p*).  The same layers pool by a
    target instead of by learned questions in :class:`TargetAttention`, where the candidate is known.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.
    **settings
        Fields of :class:`AttentionConfig`.

    References
    ----------
    Z. Lin et al., "A Structured Self-Attentive Sentence Embedding", ICLR 2017, equations 5 to 7; the places are our
    addition.
    """

    config_class = AttentionConfig

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__(inputs, n_dims, **settings)
        self.embedding = EntityEmbedding(inputs, n_dims)
        self.hidden = nn.Linear(n_dims, self.config.n_hidden)
        self.place = nn.Embedding(self.embedding.max_tokens, self.config.n_hidden)
        nn.init.normal_(self.place.weight, std=0.02)
        self.question = nn.Linear(self.config.n_hidden, self.config.n_heads, bias=False)
        self.dropout = nn.Dropout(self.config.dropout)
        self.head = nn.Linear(self.config.n_heads * n_dims, n_dims)

    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch; see :meth:`Encoder.forward <recsys_neural.encoders.Encoder.forward>`."""
        tokens, mask = self.embedding(batch)
        from_newest = tokens.shape[1] - 1 - torch.arange(tokens.shape[1], device=tokens.device)
        asked = self.question(torch.tanh(self.hidden(tokens) + self.place(from_newest)))  # [B, T, heads]
        weights = asked.masked_fill(~mask.unsqueeze(-1), -torch.inf).softmax(dim=1)
        pooled = self.dropout(weights).transpose(1, 2) @ tokens
        encoded: Tensor = self.head(pooled.flatten(1))
        return encoded


class TargetAttention(nn.Module):
    r"""Pools tokens by how they go with a target, such as a history by a candidate item.

    .. math:: e(t) = \sum_j \mathrm{softmax}_j\big(x_j^\top Q t / \sqrt d + b_j\big) \, x_j

    Parameters
    ----------
    n_dims
        Width of a token and of the target.

    References
    ----------
    G. Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, equation 3, with a bilinear
    form in place of its small network, which makes it one matrix product for all candidates.
    """

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.query = nn.Linear(n_dims, n_dims, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        """Pool the tokens once for each target.

        Parameters
        ----------
        tokens
            float32 [B, T, n_dims].
        mask
            bool [B, T]; at least one True in each row.
        targets
            float32 [B or 1, M, n_dims].

        Returns
        -------
        Tensor
            float32 [B, M, n_dims].
        """
        scores = self.query(targets) @ tokens.transpose(1, 2) / math.sqrt(tokens.shape[-1])
        pooled: Tensor = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(dim=-1) @ tokens
        return pooled
