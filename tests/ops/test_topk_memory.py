"""Top-k needs no memory for scores, however many there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMIT = 64 << 20

# A fresh process, whose peak of resident memory has not been raised by other tests.  A small batch comes first, so that
# threads, copies of the items and the allocator's first pages are there.
PROGRAM = """
import resource, sys
import numpy as np
import scipy.sparse as sp
from recsys_core import ops

method, filtered = sys.argv[1], sys.argv[2]
n_queries, n_items = 6_000, 30_000  # 687 MiB of scores
rng = np.random.default_rng(0)
queries = rng.standard_normal((n_queries, 16)).astype(np.float32)
index = ops.ItemIndex(rng.standard_normal((n_items, 16)).astype(np.float32))
filters = {}
if filtered != "none":
    a_row = {"few": 100, "many": 2_000}[filtered]
    columns = rng.integers(0, n_items, (n_queries, a_row), dtype=np.int32)
    indptr = np.arange(n_queries + 1, dtype=np.int64) * a_row
    rows = sp.csr_array((np.ones(columns.size, np.int8), columns.ravel(), indptr), shape=(n_queries, n_items))
    filters = {sys.argv[3]: rows}
few = {name: rows[:8] for name, rows in filters.items()}
index.topk(queries[:8], 20, method=method, n_threads=4, **few)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index.topk(queries, 20, method=method, n_threads=4, **filters)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is counted in KiB on Linux only")
@pytest.mark.parametrize("method", ["float32", "compact"])
@pytest.mark.parametrize(
    ("filtered", "name"),
    [("none", "exclude"), ("few", "exclude"), ("many", "exclude"), ("few", "allow"), ("many", "allow")],
)
def test_a_large_batch_takes_less_than_64_mib(method: str, filtered: str, name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, method, filtered, name], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < LIMIT
