"""Transformer blocks: the standard one, and one with gated residuals."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.networks.attention import SelfAttention, causal_mask

__all__ = ["Block", "GatedBlock", "PositionEmbedding", "StandardBlock", "TransformerNetwork"]

Block: TypeAlias = Literal["standard", "gated"]


class PositionEmbedding(nn.Module):
    """A learned vector for each distance from the end of the sequence.

    Distances are counted from the end, so that a short matrix of short histories gives what a wide padded one gives.

    Parameters
    ----------
    max_length
        Longest sequence.
    n_factors
        Length of the vectors.
    """

    def __init__(self, max_length: int, n_factors: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, n_factors))
        nn.init.normal_(self.weight, std=n_factors**-0.5 / 8)

    def forward(self, vectors: Tensor) -> Tensor:
        """Add the positions' vectors, float (n_rows, T, n_factors)."""
        distance = vectors.shape[1] - 1 - torch.arange(vectors.shape[1], device=vectors.device)
        return vectors + functional.embedding(distance, self.weight)


class StandardBlock(nn.Module):
    r"""Pre-norm block of attention and a ReLU network.

    .. math:: y = x + \mathrm{Att}(\mathrm{LN}(x)), \qquad
        z = y + W_2 \, \mathrm{relu}(W_1 \mathrm{LN}(y))

    Parameters
    ----------
    n_factors, n_heads, dropout
        As in :class:`SelfAttention`; dropout is applied to both branches too.
    expansion
        Width of the hidden layer, in multiples of `n_factors`.
    """

    def __init__(self, n_factors: int, n_heads: int, dropout: float, expansion: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_factors)
        self.attention = SelfAttention(n_factors, n_heads, dropout)
        self.network_norm = nn.LayerNorm(n_factors)
        self.widen = nn.Linear(n_factors, expansion * n_factors)
        self.narrow = nn.Linear(expansion * n_factors, n_factors)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, allowed: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; `allowed` as in :class:`SelfAttention`."""
        vectors = vectors + self.dropout(self.attention(self.attention_norm(vectors), allowed))
        hidden = self.dropout(functional.relu(self.widen(self.network_norm(vectors))))
        narrowed: Tensor = self.dropout(self.narrow(hidden))
        return vectors + narrowed


class GatedBlock(nn.Module):
    r"""Pre-norm block whose branches are gated by their input, with a SwiGLU network.

    .. math:: y = x + \sigma(G_1 x) \odot \mathrm{Att}(\mathrm{LN}(x)), \qquad
        z = y + \sigma(G_2 y) \odot W_3 \big(\mathrm{silu}(W_1 \mathrm{LN}(y)) \odot W_2 \mathrm{LN}(y)\big)

    Parameters
    ----------
    n_factors, n_heads, dropout, expansion
        As in :class:`StandardBlock`.

    References
    ----------
    F. Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact", 2025, section 3 (LiGR);
    as combined with SASRec by D. Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular
    Fashion", RecSys 2025.
    """

    def __init__(self, n_factors: int, n_heads: int, dropout: float, expansion: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_factors)
        self.attention = SelfAttention(n_factors, n_heads, dropout)
        self.attention_gate = nn.Linear(n_factors, n_factors)
        self.network_norm = nn.LayerNorm(n_factors)
        self.widen = nn.Linear(n_factors, 2 * expansion * n_factors, bias=False)
        self.narrow = nn.Linear(expansion * n_factors, n_factors, bias=False)
        self.network_gate = nn.Linear(n_factors, n_factors)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, allowed: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; `allowed` as in :class:`SelfAttention`."""
        attended = self.dropout(self.attention(self.attention_norm(vectors), allowed))
        vectors = vectors + self.attention_gate(vectors).sigmoid() * attended
        gate, value = self.widen(self.network_norm(vectors)).chunk(2, dim=-1)
        hidden = self.narrow(self.dropout(functional.silu(gate) * value))
        gated: Tensor = self.network_gate(vectors).sigmoid() * self.dropout(hidden)
        return vectors + gated


class TransformerNetwork(nn.Module):
    """Blocks of causal attention over a sequence with learned positions.

    Parameters
    ----------
    n_factors, n_heads, dropout, expansion
        As in :class:`StandardBlock`.
    n_blocks
        Number of blocks.
    max_length
        Longest sequence.
    block
        ``"standard"``, :class:`StandardBlock`, or ``"gated"``, :class:`GatedBlock`.
    input_norm
        Whether a layer norm comes before the first block.  Vectors of items start small: without it what the blocks
        add drowns them at first, and it takes the training a while to see which item is which.

    Examples
    --------
    >>> import torch
    >>> network = TransformerNetwork(8, n_blocks=1, n_heads=2, dropout=0.0, expansion=4, max_length=5, block="gated")
    >>> network(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        n_factors: int,
        *,
        n_blocks: int,
        n_heads: int,
        dropout: float,
        expansion: int,
        max_length: int,
        block: Block,
        input_norm: bool = False,
    ) -> None:
        super().__init__()
        kind = StandardBlock if block == "standard" else GatedBlock
        self.positions = PositionEmbedding(max_length, n_factors)
        self.input_norm = nn.LayerNorm(n_factors) if input_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(kind(n_factors, n_heads, dropout, expansion) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(n_factors)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; mask bool (n_rows, T), True where real."""
        allowed = causal_mask(mask)
        vectors = self.dropout(self.input_norm(self.positions(vectors)))
        for block in self.blocks:
            vectors = block(vectors, allowed)
        normed: Tensor = self.norm(vectors)
        return normed
