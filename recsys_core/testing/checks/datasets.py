"""What every data set promises."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recsys_core.data import Interactions
from recsys_core.errors import DataError
from recsys_core.testing.checks.plugin import check_inert_plugin
from recsys_core.testing.outcome import NotApplicable, expect
from recsys_core.testing.subject import Registered

__all__ = ["DATASET_CHECKS", "DatasetSubject"]


class DatasetSubject(Registered):
    """A data set under test; ``factory(**settings)`` loads it."""

    kind = "dataset"

    def load(self) -> Interactions:
        """The data, loaded now; nothing can be said of data that cannot be had here."""
        try:
            loaded: Interactions = self.create(**self.settings)
        except DataError as cause:
            raise NotApplicable(f"it cannot be had here: {cause}") from None
        return loaded

    @cached_property
    def loaded(self) -> Interactions:
        """The data, which the checks share and do not change."""
        return self.load()


def check_loads(subject: DatasetSubject) -> None:
    """Loading it gives interactions, at least one."""
    loaded = subject.loaded
    expect(isinstance(loaded, Interactions), f"factory: expected Interactions, got {type(loaded).__name__}")
    expect(len(loaded.item_index) > 0, "factory: expected events, got none")


def check_loads_alike(subject: DatasetSubject) -> None:
    """Loading it again gives the same ids and events in the same order."""
    first, second = subject.loaded, subject.load()
    for what in ("users", "items"):
        expect(getattr(first, what) == getattr(second, what), f"{what}: expected the same ids again, got others")
    for what in ("user_index", "item_index", "weight", "datetime"):
        one, other = getattr(first, what), getattr(second, what)
        same = np.array_equal(one, other) if one is not None and other is not None else one is other
        expect(same, f"{what}: expected the same events again, got others")


def check_says_what_it_has(subject: DatasetSubject) -> None:
    """What the spec's capabilities say of times and features is there."""
    if subject.entry is None:
        raise NotApplicable("the function was given, not a registered name")
    parts = {"times": "datetime", "item-features": "item_features", "user-features": "user_features"}
    claimed = {word: part for word, part in parts.items() if word in subject.entry.spec.capabilities}
    if not claimed:
        raise NotApplicable("its spec says nothing of times or features")
    missing = [word for word, part in claimed.items() if getattr(subject.loaded, part) is None]
    expect(not missing, f"capabilities: expected what they say, got no {', '.join(missing)}")


DATASET_CHECKS = (check_inert_plugin, check_loads, check_loads_alike, check_says_what_it_has)
"""All checks of a data set, in the order in which they run."""
