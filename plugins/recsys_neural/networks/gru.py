"""Gated recurrent units over right-aligned sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GruNetwork"]


class GruNetwork(nn.Module):
    """A GRU over the real positions of each row.

    Parameters
    ----------
    n_factors
        Length of the vectors that come in and go out.
    n_units
        Length of the state.
    n_layers
        Number of layers.
    dropout
        Probability of dropping an input value, and a value between layers.

    Notes
    -----
    Rows are turned to the left first, so that the state starts at the first real item and not in the padding; what the
    GRU computes from the padding behind the last item reaches no real position.

    Examples
    --------
    >>> import torch
    >>> network = GruNetwork(8, n_units=16, n_layers=1, dropout=0.0)
    >>> network(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, n_factors: int, *, n_units: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        between = dropout if n_layers > 1 else 0.0
        self.gru = nn.GRU(n_factors, n_units, n_layers, batch_first=True, dropout=between)
        self.project_out = nn.Linear(n_units, n_factors)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; mask bool (n_rows, T), True where real."""
        n_padded = (~mask).sum(1, keepdim=True)
        column = torch.arange(mask.shape[1], device=mask.device)
        states, _ = self.gru(self.dropout(_take(vectors, (column + n_padded) % mask.shape[1])))
        projected: Tensor = self.project_out(_take(states, (column - n_padded) % mask.shape[1]))
        return projected


def _take(vectors: Tensor, columns: Tensor) -> Tensor:
    """Take each row's columns, int64 (n_rows, T)."""
    return vectors.gather(1, columns[:, :, None].expand(-1, -1, vectors.shape[2]))
