"""What training knows of its users beside their histories, and what it hides of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["KnownUsers"]


class KnownUsers(nn.Module):
    """Features of the training users, as encoders take them.

    Training hides all features of some users, so that strangers of whom nothing but a history is known can be answered.

    Parameters
    ----------
    arrays
        Features, a row a user, by the names of :class:`~recsys_neural.encoders.EntityInputs`; may be empty.
    hidden
        Probability with which training hides a user's features.
    """

    def __init__(self, arrays: Mapping[str, Tensor], hidden: float = 0.1) -> None:
        super().__init__()
        self.hidden = hidden
        self._names = tuple(arrays)
        for name, array in arrays.items():
            # They follow the module to a device and are not part of its learned state.
            self.register_buffer(f"of_{name}", array, persistent=False)

    def forward(self, users: Tensor) -> dict[str, Tensor]:
        """Features of some users, given by their position, int64 (n,): some of them hidden in training."""
        batch = {name: self._array(name)[users] for name in self._names}
        if self.training and self.hidden and batch:
            hidden = torch.rand(len(users), device=users.device) < self.hidden
            blank = self.nothing(users)
            batch = {name: torch.where(hidden[:, None], blank[name], rows) for name, rows in batch.items()}
        return batch

    def nothing(self, like: Tensor) -> dict[str, Tensor]:
        """Features of as many strangers as ``like`` has rows, of whom none is known."""
        return {name: _missing(self._array(name), like) for name in self._names}

    def _array(self, name: str) -> Tensor:
        array: Tensor = getattr(self, f"of_{name}")
        return array


def _missing(array: Tensor, like: Tensor) -> Tensor:
    value = torch.nan if array.dtype.is_floating_point else -1
    return torch.full((like.shape[0], array.shape[1]), value, dtype=array.dtype, device=like.device)
