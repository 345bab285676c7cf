"""Whatever is known about an entity, as tokens or as fields of one width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.encoders.contract import EntityBatch, EntityInputs

__all__ = ["EntityEmbedding"]

_LEAST_WEIGHT = 1e-9  # what a mean over nothing is divided by


class EntityEmbedding(nn.Module):
    """Embeds each thing that is known about an entity in ``n_dims`` numbers.

    A number becomes its value times a vector of its column, plus another; a missing one a third vector (Gorishniy et
    al., "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, section 3.3).  A categorical value has a
    vector of its own.  A text is the mean of the vectors of its n-grams (Joulin et al., "Bag of Tricks for Efficient
    Text Classification", EACL 2017).  An item of a history is its vector, projected where the widths differ.

    Called, it gives **tokens**, a sequence of varying length; :meth:`fields` gives one vector for each thing.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Width of a token or field.
    weigh_ngrams
        Whether an n-gram has a learned weight in the mean of its text, as it has a fixed one in tf-idf.

    Attributes
    ----------
    max_tokens
        Most tokens that an entity can have.
    n_fields
        Number of fields.
    """

    def __init__(self, inputs: EntityInputs, n_dims: int, *, weigh_ngrams: bool = False) -> None:
        super().__init__()
        self.inputs = inputs
        self._names = inputs.names
        self.summary = nn.Parameter(torch.empty(n_dims))
        if "history" in self._names:
            same = inputs.item_dims == n_dims
            self.item = nn.Identity() if same else nn.Linear(inputs.item_dims, n_dims, bias=False)
        if "id" in self._names:
            self.id = nn.Embedding(inputs.n_ids, n_dims)
        if "numeric" in self._names:
            # slope, offset, and what stands for a missing value
            self.numeric = nn.Parameter(torch.empty(3, inputs.n_numeric, n_dims))
        if "categorical" in self._names:
            self.values = nn.Embedding(inputs.n_values, n_dims)
        if "text" in self._names:
            self.ngrams = nn.Embedding(inputs.n_buckets, n_dims)
            self.ngram_weight = nn.Embedding(inputs.n_buckets, 1) if weigh_ngrams else None
        if "vector" in self._names:
            self.vector = nn.Linear(inputs.vector_dims, n_dims)
        self._initialize()
        n_values = sum(inputs.widths)
        others = sum(name in self._names for name in ("id", "text", "vector"))
        self.max_tokens = 1 + inputs.max_length + inputs.n_numeric + n_values + others
        self.n_fields = int(inputs.max_length > 0) + inputs.n_numeric + len(inputs.widths) + others

    def _initialize(self) -> None:
        nn.init.normal_(self.summary, std=0.1)
        for name in ("id", "values", "ngrams"):
            if hasattr(self, name):
                nn.init.normal_(getattr(self, name).weight, std=0.1)
        if hasattr(self, "numeric"):
            nn.init.normal_(self.numeric, std=0.1)
        if "text" in self._names and self.ngram_weight is not None:
            nn.init.zeros_(self.ngram_weight.weight)

    def forward(self, batch: EntityBatch) -> tuple[Tensor, Tensor]:
        """Tokens of a batch.

        Parameters
        ----------
        batch
            The tensors that ``inputs`` names.

        Returns
        -------
        tokens
            float32 [B, T, n_dims]: the features, then the history, oldest first, then one token that is the same for
            all.  Right-aligned: what there is not is 0, in front.
        mask
            bool [B, T], False where there is no token; True in the last column.
        """
        parts, masks = self._features(batch)
        n_features = len(parts)
        if "history" in self._names:
            history = batch["history"]
            parts.append(self._history(batch))
            masks.append(history >= 0)
        n_rows = parts[0].shape[0]
        parts.append(self.summary.expand(n_rows, 1, -1))
        masks.append(torch.ones_like(masks[0][:, :1]))
        tokens, mask = torch.cat(parts, dim=1), torch.cat(masks, dim=1)
        if n_features:
            tokens, mask = _right_aligned(tokens, mask)
        return tokens * mask.unsqueeze(-1), mask

    def fields(self, batch: EntityBatch) -> Tensor:
        """One vector for each thing that is known: lists, texts and histories as the mean of what is in them.

        Parameters
        ----------
        batch
            The tensors that ``inputs`` names.

        Returns
        -------
        Tensor
            float32 [B, n_fields, n_dims], 0 where a field is missing.
        """
        features, masks = self._features(batch)
        fields = []
        for name, part, mask in zip(self._feature_names(), features, masks, strict=True):
            widths = list(self.inputs.widths) if name == "categorical" else [1] * part.shape[1]
            for tokens, there in zip(torch.split(part, widths, dim=1), torch.split(mask, widths, dim=1), strict=True):
                fields.append(_mean(tokens, there.unsqueeze(-1).to(tokens.dtype)))
        if "history" in self._names:
            there = (batch["history"] >= 0).unsqueeze(-1)
            fields.append(_mean(self._history(batch), there.to(self.summary.dtype)))
        return torch.stack(fields, dim=1)

    def _feature_names(self) -> list[str]:
        return [name for name in self._names if name not in ("history", "items")]

    def _features(self, batch: EntityBatch) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens [B, n, n_dims] and masks [B, n] of everything but the history."""
        parts, masks = [], []
        for name in self._feature_names():
            tokens, mask = getattr(self, f"_{name}_tokens")(batch[name])
            parts.append(tokens)
            masks.append(mask)
        return parts, masks

    def _id_tokens(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.id(ids.clamp(min=0)).unsqueeze(1), (ids >= 0).unsqueeze(1)

    def _numeric_tokens(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        missing = torch.isnan(numbers).unsqueeze(-1)
        values = torch.nan_to_num(numbers).unsqueeze(-1)
        slope, offset, absent = self.numeric.unbind(0)
        return torch.where(missing, absent, values * slope + offset), torch.ones_like(numbers, dtype=torch.bool)

    def _categorical_tokens(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.values(values.clamp(min=0)), values >= 0

    def _text_tokens(self, ngrams: Tensor) -> tuple[Tensor, Tensor]:
        table = self.ngrams.weight
        weight = torch.ones_like(table[:, :1]) if self.ngram_weight is None else self.ngram_weight.weight.exp()
        # The weight is one more column, so that one sum gives what is divided and by what.
        sum_up = _sum_of_gathered if torch.onnx.is_in_onnx_export() else _sum_of_bags
        sums = sum_up(torch.cat([table * weight, weight], dim=1), ngrams)
        mean = sums[:, :-1] / sums[:, -1:].clamp(min=_LEAST_WEIGHT)
        return mean.unsqueeze(1), (ngrams >= 0).any(dim=1, keepdim=True)

    def _vector_tokens(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        there = ~torch.isnan(vectors).any(dim=1, keepdim=True)
        return self.vector(torch.nan_to_num(vectors)).unsqueeze(1), there

    def _history(self, batch: EntityBatch) -> Tensor:
        embedded: Tensor = self.item(functional.embedding(batch["history"].clamp(min=0), batch["items"]))
        return embedded


def _mean(tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of tokens [B, T, n_dims] by weights [B, T, 1]; 0 where all weights are."""
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=_LEAST_WEIGHT)


def _sum_of_bags(table: Tensor, places: Tensor) -> Tensor:
    """Sum of the table's rows that each row of `places` names, -1 naming none, without a copy of them."""
    there = places >= 0
    counts = there.sum(1)
    return functional.embedding_bag(places[there], table, counts.cumsum(0) - counts, mode="sum")


def _sum_of_gathered(table: Tensor, places: Tensor) -> Tensor:
    """The same by operators that ONNX has."""
    there = (places >= 0).to(table.dtype).unsqueeze(1)
    return (there @ functional.embedding(places.clamp(min=0), table)).squeeze(1)


def _right_aligned(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that are there behind those that are not, each in their order."""
    length = mask.shape[1]
    place = torch.arange(length, device=mask.device)
    order = torch.argsort(torch.where(mask, place + length, place), dim=1)  # no two keys are alike
    return tokens.gather(1, order.unsqueeze(-1).expand_as(tokens)), mask.gather(1, order)
