"""Made-up entities, of whom more or less is known, to try an encoder on."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_neural.encoders.contract import EntityInputs

__all__ = ["example_batch"]

_N_ITEMS = 12
_LARGEST = 10.0  # FeaturePreparation cuts standardised numbers off here


def example_batch(
    inputs: EntityInputs, n_rows: int, *, length: int | None = None, random_state: int = 0
) -> dict[str, Tensor]:
    """Draw entities of whom more and more is known.

    Parameters
    ----------
    inputs
        What there is to know.
    n_rows
        Entities: nothing is known of the first, of the second only what the history holds, of the third all but the
        history; of the others a random part of everything, and of the last of several, all there can be.
    length
        Columns of the histories, from 1 to ``inputs.max_length``; all if None.
    random_state
        Seed.

    Returns
    -------
    dict
        The tensors that :class:`EntityInputs` describes.
    """
    draw = torch.Generator().manual_seed(random_state)
    share = torch.rand(n_rows, generator=draw)
    last = n_rows - 1
    known = torch.rand(n_rows, 1, generator=draw) < 0.8
    known[:2] = False
    known[2:3] = True
    if last:
        share[last], known[last] = 1.0, True
    batch: dict[str, Tensor] = {}
    if "history" in inputs.names:
        length = inputs.max_length if length is None else length
        lengths = (share * length).ceil().long()
        lengths[0] = 0
        if last > 2:
            lengths[2] = 0
        there = torch.arange(length) >= length - lengths[:, None]
        batch["history"] = torch.where(there, torch.randint(_N_ITEMS, (n_rows, length), generator=draw), -1)
        batch["items"] = torch.randn(_N_ITEMS, inputs.item_dims, generator=draw)
    if "id" in inputs.names:
        batch["id"] = torch.where(known[:, 0], torch.randint(inputs.n_ids, (n_rows,), generator=draw), -1)
    if "numeric" in inputs.names:
        numbers = torch.randn(n_rows, inputs.n_numeric, generator=draw)
        numbers[last] = _LARGEST
        batch["numeric"] = torch.where(known, _holed(numbers, torch.nan, last, draw), torch.nan)
    if "categorical" in inputs.names:
        values = torch.randint(inputs.n_values, (n_rows, sum(inputs.widths)), generator=draw)
        batch["categorical"] = torch.where(known, _holed(values, -1, last, draw), -1)
    if "text" in inputs.names:
        ngrams = torch.randint(inputs.n_buckets, (n_rows, 9), generator=draw)
        there = torch.arange(9) < (share * 9).ceil()[:, None]
        batch["text"] = torch.where(known & there, ngrams, -1)
    if "vector" in inputs.names:
        batch["vector"] = torch.where(known, torch.randn(n_rows, inputs.vector_dims, generator=draw), torch.nan)
    return batch


def _holed(values: Tensor, missing: float, whole: int, draw: torch.Generator) -> Tensor:
    """The values without a fifth of them, but all of the row ``whole``."""
    gone = torch.rand(values.shape, generator=draw) < 0.2
    gone[whole] = False
    return torch.where(gone, torch.as_tensor(missing, dtype=values.dtype), values)
