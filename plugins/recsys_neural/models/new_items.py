"""The part of an item tower that encodes items which training did not know, as an ONNX graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from recsys_core.export import graph_from_torch
from recsys_neural.encoders import EntityBatch, EntityEmbedding
from recsys_neural.models.towers import ItemTower, scaled

__all__ = ["new_item_graph"]

# All of an item's tensors have a row an item; n-grams have as many columns as the longest text.
_VARYING = {"numeric": (0,), "categorical": (0,), "text": (0, 1), "vector": (0,)}


def new_item_graph(tower: ItemTower) -> bytes:
    """Export a tower, from features alone to ``item`` float32 [B, n_dims], and check it on items of the catalogue.

    Raises
    ------
    ExportError
        torch cannot export the encoder, or onnxruntime's answers differ.
    """
    batches = []
    for n_rows, n_more in ((3, 1), (1, 0), (2, 5), (33, 0)):
        batch = tower.known(torch.arange(n_rows) % tower.n_items)
        batch.pop("id", None)
        if "text" in batch:
            batch["text"] = nn.functional.pad(batch["text"], (0, n_more), value=-1)
        batches.append(batch)
    return graph_from_torch(_NewItems(tower), batches, varying=_VARYING, output="item")


class _NewItems(nn.Module):
    """A tower for items without a learned vector of their own, and without the table of these vectors."""

    def __init__(self, tower: ItemTower) -> None:
        super().__init__()
        self.normalize = tower.normalize
        self.encoder = copy.deepcopy(tower.encoder)
        self.has_ids = "id" in self.encoder.inputs.names
        for module in self.encoder.modules():
            if isinstance(module, EntityEmbedding) and hasattr(module, "id"):
                first = module.id.weight[:1].detach()
                module.id = nn.Embedding(1, first.shape[1])
                module.id.weight = nn.Parameter(first)

    def forward(self, batch: EntityBatch) -> Tensor:
        known = dict(batch)
        if self.has_ids:
            first = next(iter(known.values()))
            known["id"] = torch.full_like(first[:, 0], -1, dtype=torch.int64)
        return scaled(self.encoder(known), self.normalize)
