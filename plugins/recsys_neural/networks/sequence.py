"""From item histories to queries: an item embedding, a network over the sequence, and the state at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.training.batches import left_padded

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.types import FloatArray

__all__ = ["SequenceEncoder", "encode_histories"]

_ROWS = 512


class SequenceEncoder(nn.Module):
    """A user's vector from their history of items.

    Parameters
    ----------
    n_items
        Number of items.
    n_factors
        Length of an item's vector, and of the user's.
    network
        Maps float (n_rows, T, n_factors) and a bool mask to the same shape; see :mod:`recsys_neural.networks`.

    Attributes
    ----------
    item_factors
        float32 (n_items, n_factors): what comes in and what is scored are the same vectors.
    """

    def __init__(self, n_items: int, n_factors: int, network: nn.Module) -> None:
        super().__init__()
        self.item_factors = nn.Parameter(torch.empty(n_items, n_factors))
        nn.init.normal_(self.item_factors, std=0.02)
        self.network = network

    def states(self, history: Tensor, item_factors: Tensor | None = None) -> Tensor:
        """Return what the network says at every position, float (n_rows, T, n_factors).

        Parameters
        ----------
        history
            int64 (n_rows, T): items, oldest first, right-aligned and padded in front with -1.
        item_factors
            float (n_items, n_factors): the items' vectors; the module's own if None.
        """
        mask = history >= 0
        factors = self.item_factors if item_factors is None else item_factors
        vectors = functional.embedding(history.clamp(min=0), factors) * mask[:, :, None]
        states: Tensor = self.network(vectors, mask)
        return states

    def forward(self, history: Tensor, item_factors: Tensor | None = None) -> Tensor:
        """Return the users' vectors, float (n_rows, n_factors); parameters as in :meth:`states`."""
        return self.states(history, item_factors)[:, -1]


def encode_histories(encoder: nn.Module, histories: Histories, max_length: int, device: torch.device) -> FloatArray:
    """Encode many histories without gradients.

    Parameters
    ----------
    encoder
        Maps a right-aligned history, int64 (n_rows, T), to float (n_rows, n_factors).
    histories
        Oldest first; of longer ones than `max_length` the newest part is taken, and empty ones are rows of -1.
    max_length
        Longest history that the encoder knows.
    device
        Where the encoder is.

    Returns
    -------
    FloatArray
        float32 (n_rows, n_factors), in the order of the histories.
    """
    items = np.asarray(histories.indices, dtype=np.int64)
    lengths = np.minimum(histories.lengths, max_length)
    order = np.argsort(lengths, kind="stable")  # rows of one length need no padding
    queries: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            history = left_padded(items, histories.indptr[rows + 1], lengths[rows])
            queries.append(encoder(history.to(device)).float().cpu())
    result = np.empty((len(order), queries[0].shape[1] if queries else 0), np.float32)
    result[order] = torch.cat(queries).numpy() if queries else result
    return result
