from __future__ import annotations

import numpy as np
import pytest

from recsys_core.data.order import stable_order


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("n", "n_values"),
    [(0, 1), (1, 1), (100, 7), (9_999, 30), (10_000, 1), (60_000, 13), (60_000, 400_000), (10_000, 80_001)],
)
def test_it_is_numpy_s_stable_sort(n, n_values, dtype):
    keys = np.random.default_rng(0).integers(0, n_values, n).astype(dtype)
    order = stable_order(keys, n_values)
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    assert order.dtype == np.int64
