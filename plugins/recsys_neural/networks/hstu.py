"""Hierarchical sequential transduction units: attention by SiLU instead of softmax, gated by the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.networks.attention import causal_mask
from recsys_neural.networks.transformer import PositionEmbedding

__all__ = ["HstuBlock", "HstuNetwork"]


class HstuBlock(nn.Module):
    r"""One unit.

    .. math::

        U, V, Q, K &= \mathrm{silu}(W_1 \mathrm{LN}(x)) \\
        A_{st} &= \mathrm{silu}(q_s^\top k_t + r_{s-t}) / n \quad \text{for } t = s \text{ and real } t < s \\
        y &= x + W_2 \big(\mathrm{LN}(A V) \odot U\big)

    for each head, with a learned bias *r* of each distance and *n* the longest sequence.

    Parameters
    ----------
    n_factors
        Length of the vectors; a multiple of `n_heads`.
    n_heads
        Number of heads.
    dropout
        Probability of dropping a value before the last product.
    max_length
        Longest sequence.
    """

    def __init__(self, n_factors: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.n_heads, self.max_length = n_heads, max_length
        self.norm = nn.LayerNorm(n_factors)
        self.project_in = nn.Linear(n_factors, 4 * n_factors)
        self.distance_bias = nn.Parameter(torch.zeros(n_heads, max_length))
        self.attended_norm = nn.LayerNorm(n_factors)
        self.dropout = nn.Dropout(dropout)
        self.project_out = nn.Linear(n_factors, n_factors)

    def forward(self, vectors: Tensor, allowed: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; `allowed` bool (n_rows, 1, T, T)."""
        n_rows, length, n_factors = vectors.shape
        parts = functional.silu(self.project_in(self.norm(vectors)))
        parts = parts.reshape(n_rows, length, 4, self.n_heads, n_factors // self.n_heads)
        gate, value, query, key = parts.permute(2, 0, 3, 1, 4)
        position = torch.arange(length, device=vectors.device)
        distance = (position[:, None] - position).clamp(min=0)
        scores = query @ key.transpose(-2, -1) + self.distance_bias[:, distance]
        weights = functional.silu(scores).masked_fill(~allowed, 0) / self.max_length
        attended = (weights @ value).transpose(1, 2).reshape(n_rows, length, n_factors)
        gate = gate.transpose(1, 2).reshape(n_rows, length, n_factors)
        projected: Tensor = self.project_out(self.dropout(self.attended_norm(attended) * gate))
        return vectors + projected


class HstuNetwork(nn.Module):
    """Units over a sequence.

    Parameters
    ----------
    n_factors, n_heads, dropout, max_length
        As in :class:`HstuBlock`.
    n_blocks
        Number of units.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", ICML 2024, equations 1 to 3.  Of the relative bias we keep the part of the distance in positions,
    since histories carry no times.

    Examples
    --------
    >>> import torch
    >>> network = HstuNetwork(8, n_blocks=1, n_heads=2, dropout=0.0, max_length=5)
    >>> network(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, n_factors: int, *, n_blocks: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.positions = PositionEmbedding(max_length, n_factors)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(HstuBlock(n_factors, n_heads, dropout, max_length) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(n_factors)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; mask bool (n_rows, T), True where real."""
        allowed = causal_mask(mask)
        vectors = self.dropout(self.positions(vectors))
        for block in self.blocks:
            vectors = block(vectors, allowed)
        normed: Tensor = self.norm(vectors)
        return normed
