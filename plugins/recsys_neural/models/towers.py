"""The two towers: from items and from users to vectors of one space, and the loss that trains both."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recsys_neural.encoders import Encoder, EntityBatch
from recsys_neural.models.known_users import KnownUsers

__all__ = ["ItemTower", "TwoTowerObjective", "UserTower", "scaled"]

_ITEMS_AT_ONCE = 4096
_LEAST_NORM = 1e-6


class ItemTower(nn.Module):
    """Vectors of a catalogue's items.

    Parameters
    ----------
    encoder
        Encodes items.
    arrays
        What is known of each item of the catalogue, by the names of
        :class:`~recsys_neural.encoders.EntityInputs`.
    normalize
        Whether vectors have length 1.
    id_dropout
        Probability with which training hides which item it is, so that features have to say it.
    """

    def __init__(self, encoder: Encoder, arrays: Mapping[str, Tensor], normalize: bool, id_dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalize = normalize
        self.id_dropout = id_dropout
        self._known = _keep(self, arrays)

    @property
    def n_items(self) -> int:
        """Items of the catalogue."""
        return len(getattr(self, f"known_{self._known[0]}"))

    def forward(self, items: Tensor) -> Tensor:
        """Vectors of some items, given by their position: int64 (n,) to float (n, n_dims)."""
        batch = _rows(self, self._known, items)
        if self.training and self.id_dropout and "id" in batch:
            hidden = torch.rand(len(items), device=items.device) < self.id_dropout
            batch["id"] = torch.where(hidden, -1, batch["id"])
        return self.encode(batch)

    def encode(self, batch: EntityBatch) -> Tensor:
        """Vectors of items of which a batch says what is known."""
        return scaled(self.encoder(batch), self.normalize)

    def known(self, items: Tensor) -> dict[str, Tensor]:
        """What is known of some items of the catalogue, given by their position, by name."""
        return _rows(self, self._known, items)

    def all_vectors(self) -> Tensor:
        """Vectors of the whole catalogue, float (n_items, n_dims)."""
        positions = torch.arange(self.n_items, device=getattr(self, f"known_{self._known[0]}").device)
        return torch.cat([self(part) for part in torch.split(positions, _ITEMS_AT_ONCE)])


class UserTower(nn.Module):
    """Query vectors of users, by their history and by what else is known of them.

    Parameters
    ----------
    encoder
        Encodes users.
    known
        What is known of each training user beside the history.
    normalize
        Whether vectors have length 1, before the temperature.
    temperature
        What a query is divided by.
    """

    def __init__(self, encoder: Encoder, known: KnownUsers, normalize: bool, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.known = known
        self.normalize = normalize
        self.temperature = temperature

    def forward(self, history: Tensor, item_factors: Tensor, user_features: EntityBatch | None = None) -> Tensor:
        """Queries of strangers.

        Parameters
        ----------
        history
            int64 (n, T): rows of ``item_factors``, right-aligned, -1 in front.
        item_factors
            float (n_items, n_dims): the items' vectors.
        user_features
            What else is known of them, by the names that ``known`` has; if None, nothing is.
        """
        features = self.known.nothing(history) if user_features is None else user_features
        return self._queries(features, history, item_factors)

    def of_users(self, users: Tensor, history: Tensor, item_factors: Tensor) -> Tensor:
        """Queries of training users, given by their position, int64 (n,)."""
        return self._queries(self.known(users), history, item_factors)

    def _queries(self, features: EntityBatch, history: Tensor, item_factors: Tensor) -> Tensor:
        vectors = scaled(self.encoder({**features, "history": history, "items": item_factors}), self.normalize)
        return vectors / self.temperature


class TwoTowerObjective(nn.Module):
    r"""Softmax over the items of the batch, corrected for how often each is in one.

    .. math:: -\frac{1}{B} \sum_i \ln \frac{e^{s_{ii} - \ln p_i}}{\sum_j e^{s_{ij} - \ln p_j}}

    where :math:`s_{ij}` is the score of event *i*'s query and event *j*'s item and :math:`p_j` that item's share of all
    events: without it, what is popular would be pushed down for being a negative so often.  The sum is then, on
    average, B times the one over all items.  That is why an event of the same item is not left out of it.

    Parameters
    ----------
    items, users
        The towers.
    shares
        float (n_items,): each item's share of the training events.

    References
    ----------
    X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    section 4; the shares are counted rather than estimated from a stream.
    """

    log_shares: Tensor

    def __init__(self, items: ItemTower, users: UserTower, shares: Tensor) -> None:
        super().__init__()
        self.items = items
        self.users = users
        # An item without an event is in no batch, so that its share is never asked for.
        self.register_buffer("log_shares", shares.clamp(min=1e-12).log(), persistent=False)

    def forward(self, user: Tensor, history: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch of events.

        Parameters
        ----------
        user
            int64 (B,): positions of users.
        history
            int64 (B, T): positions of items, -1 in front.
        target
            int64 (B,): positions of items.
        """
        # Each item of the batch goes through its tower once, however often it is in a history.
        items, rows = torch.unique(torch.cat([target, history.flatten().clamp(min=0)]), return_inverse=True)
        vectors = self.items(items)
        target_row, history_row = rows[: len(target)], rows[len(target) :].reshape(history.shape)
        queries = self.users.of_users(user, torch.where(history < 0, -1, history_row), vectors)
        logits = (queries @ vectors[target_row].T).float() - self.log_shares[target]
        return nn.functional.cross_entropy(logits, torch.arange(len(target), device=target.device))


def scaled(vectors: Tensor, normalize: bool) -> Tensor:
    """The vectors, of length 1 if ``normalize``."""
    return nn.functional.normalize(vectors, dim=-1, eps=_LEAST_NORM) if normalize else vectors


def _keep(module: nn.Module, arrays: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Keep arrays as buffers, which follow the module to a device and are not part of its learned state."""
    for name, array in arrays.items():
        module.register_buffer(f"known_{name}", array, persistent=False)
    return tuple(arrays)


def _rows(module: nn.Module, names: tuple[str, ...], rows: Tensor) -> dict[str, Tensor]:
    return {name: getattr(module, f"known_{name}")[rows] for name in names}
