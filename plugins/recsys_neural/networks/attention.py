"""Causal self-attention, from matrix products and a softmax alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["SelfAttention", "causal_mask"]


def causal_mask(mask: Tensor) -> Tensor:
    """Which positions each position may look at: itself, and real ones before it.

    Even padding may look at itself, so that no softmax is over nothing, and the answer to an empty history does not
    depend on how much padding it has.

    Parameters
    ----------
    mask
        bool (n_rows, T): the real positions.

    Returns
    -------
    Tensor
        bool (n_rows, 1, T, T): [row, 0, from, to].
    """
    position = torch.arange(mask.shape[1], device=mask.device)
    before, itself = position[:, None] > position, position[:, None] == position
    return (before[None] & mask[:, None, :] | itself)[:, None]


class SelfAttention(nn.Module):
    r"""Multi-head attention of a sequence to itself.

    .. math:: \mathrm{softmax}\big(Q K^\top / \sqrt{d_h}\big) V \, W_O

    for each head, over the positions that a mask allows.

    Parameters
    ----------
    n_factors
        Length of the vectors; a multiple of `n_heads`.
    n_heads
        Number of heads.
    dropout
        Probability of dropping a weight of the softmax.
    """

    def __init__(self, n_factors: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(n_factors, 3 * n_factors)
        self.project_out = nn.Linear(n_factors, n_factors)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, allowed: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        vectors
            float (n_rows, T, n_factors).
        allowed
            bool, broadcast to (n_rows, n_heads, T, T); see :func:`causal_mask`.
        """
        n_rows, length, n_factors = vectors.shape
        heads = self.project_in(vectors).reshape(n_rows, length, 3, self.n_heads, n_factors // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / math.sqrt(n_factors // self.n_heads)
        scores = scores.masked_fill(~allowed, -torch.inf)
        weights = self.dropout(scores.softmax(-1))
        attended: Tensor = self.project_out((weights @ value).transpose(1, 2).reshape(n_rows, length, n_factors))
        return attended
