"""An encoder under test, and the entities on which it is tried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recsys_core.errors import ConfigError
from recsys_core.testing import CheckFailedError, Registered
from recsys_neural.encoders import Encoder, EntityInputs, example_batch

__all__ = ["N_DIMS", "EncoderSubject"]

N_DIMS = 8
N_ROWS = 9

USERS = "users with a history and features"
ITEMS = "items with an id and features"
KINDS = {
    USERS: EntityInputs(max_length=6, item_dims=N_DIMS, n_numeric=2, widths=(3, 1), n_values=7, n_buckets=50),
    ITEMS: EntityInputs(n_ids=10, n_numeric=2, widths=(3, 1), n_values=7, n_buckets=50, vector_dims=4),
    "a history alone": EntityInputs(max_length=6, item_dims=5),
    "an id alone": EntityInputs(n_ids=10),
    "numbers alone": EntityInputs(n_numeric=2),
    "categories alone": EntityInputs(widths=(3, 1), n_values=7),
    "n-grams alone": EntityInputs(n_buckets=50),
    "vectors alone": EntityInputs(vector_dims=4),
}


class EncoderSubject(Registered):
    """An encoder under test; ``factory(inputs=..., n_dims=..., **settings)`` makes it."""

    kind = "encoder"
    contract = Encoder

    def make(self, inputs: EntityInputs, n_dims: int = N_DIMS, seed: int = 0, **changed: Any) -> Any:
        """A new encoder with weights drawn from a seed, in evaluation mode if it has one."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = self.create(**{**self.settings, **changed}, inputs=inputs, n_dims=n_dims)
        return encoder.eval() if isinstance(encoder, Encoder) else encoder

    @cached_property
    def usable(self) -> dict[str, EntityInputs]:
        """The kinds of entities that it can be made for: it may refuse some by a ConfigError, but not all.

        Raises
        ------
        CheckFailedError
            It refuses users and items.
        """
        found, refused = {}, ""
        for what, inputs in KINDS.items():
            try:
                self.make(inputs)
            except ConfigError as reason:
                refused = str(reason)
            else:
                found[what] = inputs
        if not {USERS, ITEMS} & set(found):
            raise CheckFailedError(f"factory: expected an encoder of users or of items, got a refusal: {refused}")
        return found

    @property
    def whole(self) -> dict[str, EntityInputs]:
        """Users and items with everything that can be known of them, as far as it takes them."""
        return {what: inputs for what, inputs in self.usable.items() if what in (USERS, ITEMS)}

    def answers(self) -> Iterator[tuple[str, Encoder, dict[str, Tensor], Tensor]]:
        """For each kind of entity: its name, a new encoder, a batch, and what the encoder says of the batch."""
        for what, inputs in self.usable.items():
            encoder, batch = self.make(inputs), example_batch(inputs, N_ROWS)
            with torch.no_grad():
                encoded = encoder({name: tensor.clone() for name, tensor in batch.items()})
            yield what, encoder, batch, encoded
