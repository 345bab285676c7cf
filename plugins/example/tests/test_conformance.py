"""What recsys-core asks of every recommender, and what this one computes."""

from __future__ import annotations

import numpy as np

from recsys_core import Interactions, create
from recsys_core.testing import parametrize_with_checks


@parametrize_with_checks(["next_item"])
def test_conformance(check) -> None:
    """One of the checks that every model has to pass."""
    check()


def test_weights_of_what_follows() -> None:
    """Soup, tea, soup, cake within two places: tea follows soup once, cake follows soup and tea."""
    visits = Interactions.from_arrays(["ann"] * 4, ["soup", "tea", "soup", "cake"])
    weights = create("next_item", window=2).fit(visits).form.weights.toarray()
    expected = np.zeros((3, 3))
    cake, soup, tea = visits.items.index_of(["cake", "soup", "tea"])
    expected[soup] = [2 / 5 if item == cake else 1 / 5 if item == soup else 2 / 5 for item in range(3)]
    expected[tea, [cake, soup]] = 1 / 3, 2 / 3
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
