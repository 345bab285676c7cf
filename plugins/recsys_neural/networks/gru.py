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
    Rows are moved to the left first, so that the state starts at the first real item and not in the padding.

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
        # Behind the last item the last is repeated, and in front of the first its state: nobody looks there.
        moved = self.dropout(_take(vectors, torch.minimum(column + n_padded, column[-1:])))
        states = _onnx_gru(self.gru, moved) if torch.onnx.is_in_onnx_export() else self.gru(moved)[0]
        projected: Tensor = self.project_out(_take(states, (column - n_padded).clamp(min=0)))
        return projected


def _onnx_gru(gru: nn.GRU, vectors: Tensor) -> Tensor:
    """Compute ``gru(vectors)[0]`` with ONNX's own operator.

    torch traces the loop of its own with the example's number of steps, so that the graph would take no other.
    """
    length, n_rows = vectors.shape[1], vectors.shape[0]
    sequence = vectors.transpose(0, 1)
    for layer in range(gru.num_layers):
        weights = (_onnx_gates(getattr(gru, f"{name}_l{layer}")) for name in ("weight_ih", "weight_hh"))
        biases = [_onnx_gates(getattr(gru, f"{name}_l{layer}")) for name in ("bias_ih", "bias_hh")]
        inputs = (sequence, *(weight[None] for weight in weights), torch.cat(biases)[None])
        states = torch.onnx.ops.symbolic(
            "GRU",
            inputs,
            attrs={"hidden_size": gru.hidden_size, "linear_before_reset": 1},
            dtype=vectors.dtype,
            shape=(length, 1, n_rows, gru.hidden_size),
            version=18,
        )
        sequence = states.squeeze(1)
    return sequence.transpose(0, 1)


def _onnx_gates(weights: Tensor) -> Tensor:
    """From torch's order of the gates, reset, update, new, to ONNX's, update, reset, new."""
    reset, update, new = weights.chunk(3)
    return torch.cat([update, reset, new])


def _take(vectors: Tensor, columns: Tensor) -> Tensor:
    """Take each row's columns, int64 (n_rows, T)."""
    return vectors.gather(1, columns[:, :, None].expand(-1, -1, vectors.shape[2]))
