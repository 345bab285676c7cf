"""The contract of an encoder: what it is built from, what it is given, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from recsys_core import Config
from recsys_core.errors import ConfigError
from recsys_core.models import build_config

__all__ = ["Encoder", "EntityBatch", "EntityInputs"]

EntityBatch: TypeAlias = Mapping[str, Tensor]
"""Some entities, users or items, as tensors by name; :class:`EntityInputs` says which there are."""


@dataclass(frozen=True)
class EntityInputs:
    """What is known of an entity, that is, which tensors a batch of B of them has.

    ===============  =======  ================  ======================================================================
    name             dtype    shape             what
    ===============  =======  ================  ======================================================================
    ``history``      int64    [B, T]            rows of ``items``, oldest first, right-aligned, -1 in front;
                                                1 <= T <= ``max_length``
    ``items``        float32  [N, item_dims]    the vectors that a history points to, the same for all entities
    ``id``           int64    [B]               which entity it is, -1 if it was not there in training
    ``numeric``      float32  [B, n_numeric]    standardised numbers, NaN where missing
    ``categorical``  int64    [B, sum(widths)]  values of one column after the other, -1 where missing; a column of
                                                lists takes as many places as its longest list
    ``text``         int64    [B, W]            hashed n-grams, -1 behind them
    ``vector``       float32  [B, vector_dims]  a text as a vector, all NaN where missing
    ===============  =======  ================  ======================================================================

    What has a size of 0 here is not in the batch.

    Parameters
    ----------
    max_length
        Longest history.
    item_dims
        Length of the vectors that a history points to.
    n_ids
        Number of known entities.
    n_numeric
        Number of columns of numbers.
    widths
        Places of each categorical column.
    n_values
        Number of values of all categorical columns together: each has a number of its own.
    n_buckets
        Number of values of a hashed n-gram.
    vector_dims
        Length of a text's vector.

    Raises
    ------
    ConfigError
        Nothing at all is known.
    """

    max_length: int = 0
    item_dims: int = 0
    n_ids: int = 0
    n_numeric: int = 0
    widths: tuple[int, ...] = ()
    n_values: int = 0
    n_buckets: int = 0
    vector_dims: int = 0

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("inputs: expected at least one of history, id, numeric, categorical, text, got none.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors of a batch, in the order of the table above."""
        sizes = {
            "history": self.max_length,
            "items": self.max_length and self.item_dims,
            "id": self.n_ids,
            "numeric": self.n_numeric,
            "categorical": sum(self.widths),
            "text": self.n_buckets,
            "vector": self.vector_dims,
        }
        return tuple(name for name, size in sizes.items() if size)


class Encoder(nn.Module, ABC):
    """Base of every encoder: a module from a batch of users or of items to one vector each.

    A subclass names its settings, builds its layers in ``__init__`` and defines ``forward``.
    :class:`~recsys_neural.encoders.EntityEmbedding` turns whatever there is to know into tokens, so that an encoder of
    sequences is one of users and of items alike.  It must export to ONNX: no Python that depends on data, attention
    as matrix products and a softmax, and an answer for a row that does not depend on the other rows or on T.

    Parameters
    ----------
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return, at least 1.
    **settings
        Fields of ``config_class``.

    Attributes
    ----------
    inputs, n_dims
        As given.
    config
        The checked settings.

    Raises
    ------
    ConfigError
        A setting is unknown, of the wrong type or out of range.

    Examples
    --------
    >>> import torch
    >>> from recsys_neural.encoders import Encoder, EntityEmbedding, EntityInputs
    >>> class Mean(Encoder):
    ...     def __init__(self, inputs, n_dims, **settings):
    ...         super().__init__(inputs, n_dims, **settings)
    ...         self.embedding = EntityEmbedding(inputs, n_dims)
    ...
    ...     def forward(self, batch):
    ...         tokens, mask = self.embedding(batch)
    ...         return tokens.sum(1) / mask.sum(1, keepdim=True)
    >>> encoder = Mean(EntityInputs(n_numeric=2), n_dims=8)
    >>> encoder({"numeric": torch.tensor([[0.5, torch.nan]])}).shape
    torch.Size([1, 8])
    """

    config_class: ClassVar[type[Config]] = Config

    def __init__(self, inputs: EntityInputs, n_dims: int, **settings: Any) -> None:
        super().__init__()
        if n_dims < 1:
            raise ConfigError(f"n_dims: expected at least 1, got {n_dims}.")
        self.inputs = inputs
        self.n_dims = n_dims
        self.config: Any = build_config(self.config_class, settings, model=type(self).__name__)

    @abstractmethod
    def forward(self, batch: EntityBatch) -> Tensor:
        """Encode a batch.

        Parameters
        ----------
        batch
            The tensors that ``inputs`` names.

        Returns
        -------
        Tensor
            float32 [B, n_dims], finite for every row, also for one of which nothing is known.
        """
