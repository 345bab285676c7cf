from __future__ import annotations

import numpy as np
import pytest

from recsys_classic.popularity import Popularity
from recsys_core import Interactions
from recsys_core.errors import ConfigError, DataError

DAY = np.timedelta64(1, "D")
END = np.datetime64("2024-06-30T12:00", "us")


@pytest.fixture
def plays() -> Interactions:
    """Ann plays a, a, b; bob plays a; eve plays c.  Ages in days: 30, 2, 0, 10, 4."""
    return Interactions.from_arrays(
        ["ann", "ann", "ann", "bob", "eve"],
        ["a", "a", "b", "a", "c"],
        [1.0, 2.0, 5.0, 0.5, 3.0],
        END - np.array([30, 2, 0, 10, 4]) * DAY,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [2, 1, 1]),
        ({"by": "events"}, [3, 1, 1]),
        ({"by": "weights"}, [3.5, 5, 3]),
        ({"window_days": 5}, [1, 1, 1]),
        ({"window_days": 4}, [1, 1, 0]),  # an event exactly as old as the window is out
        ({"by": "events", "window_days": 11}, [2, 1, 1]),
        ({"by": "weights", "half_life_days": 2}, [2.0**-15 + 2 / 2 + 0.5 / 32, 5, 3 / 4]),
        ({"half_life_days": 2}, [1 / 2 + 1 / 32, 1, 1 / 4]),
        ({"half_life_days": 2, "window_days": 5}, [1 / 2, 1, 1 / 4]),
    ],
)
def test_scores(plays, settings, expected) -> None:
    np.testing.assert_allclose(Popularity(**settings).fit(plays).scores_, np.array(expected, np.float32), rtol=1e-6)


def test_the_last_event_of_a_pair_counts_whatever_the_row_order(plays) -> None:
    turned = plays.select(np.arange(len(plays))[::-1])
    scores = Popularity(half_life_days=2).fit(turned).scores_
    np.testing.assert_allclose(scores, [1 / 2 + 1 / 32, 1, 1 / 4], rtol=1e-6)


@pytest.mark.parametrize("setting", ["window_days", "half_life_days"])
def test_a_window_needs_times(setting) -> None:
    timeless = Interactions.from_arrays(["ann"], ["a"])
    with pytest.raises(DataError, match=f"{setting} is set, got none"):
        Popularity(**{setting: 3}).fit(timeless)


@pytest.mark.parametrize("settings", [{"by": "likes"}, {"window_days": 0}, {"half_life_days": -1}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"Popularity.{next(iter(settings))}"):
        Popularity(**settings)
