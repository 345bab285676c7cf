"""What filters of each query cost in exact top-k: rows of `exclude` and of `allow`, from few to nearly all items.

One thread, processor time, the smallest of some runs of each method in turn, answers compared first.  Columns named
"one list" allow the same share of the items to all queries.

    python benchmarks/bench_topk_filters.py --items 200000 --factors 64
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.types import Ranking

METHODS = ("auto", "float32", "compact")
SHARES = (0.001, 0.01, 0.03, 0.1, 0.5, 0.9)


def draw_rows(rng: np.random.Generator, n_rows: int, n_items: int, share: float) -> sp.csr_array:
    """The same number of items in each row, ascending."""
    size = round(n_items * share)
    columns = [np.sort(rng.choice(n_items, size, replace=False)) for _ in range(n_rows)]
    indptr = np.arange(n_rows + 1, dtype=np.int64) * size
    values = np.ones(n_rows * size, np.int8)
    return sp.csr_array((values, np.concatenate(columns).astype(np.int32), indptr), shape=(n_rows, n_items))


def best_of(n_runs: int, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Smallest processor time of each call in milliseconds, taken in turns."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(n_runs):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    index = ops.ItemIndex(rng.standard_normal((options.items, options.factors), dtype=np.float32))
    print(f"{options.items} x {options.factors} items, k = {options.k}, {ops.isa()}, one thread; ms")
    for n_queries in options.queries:
        queries = rng.standard_normal((n_queries, options.factors), dtype=np.float32)

        def ask(
            method: str, queries: np.ndarray = queries, **filters: sp.csr_array | np.ndarray
        ) -> Callable[[], Ranking]:
            return lambda: index.topk(queries, options.k, method=method, n_threads=1, **filters)

        ask("compact")()  # makes the copy
        cases = [("none", 0.0, {})]
        for share in SHARES:
            rows = draw_rows(rng, n_queries, options.items, share)
            cases += [("exclude", share, {"exclude": rows}), ("allow", share, {"allow": rows})]
            cases += [("one list", share, {"allow": rows.indices[: rows.indptr[1]]})]
        for name, share, filters in cases:
            calls = {method: ask(method, **filters) for method in METHODS}
            answers = [call() for call in calls.values()]
            for answer in answers[1:]:
                np.testing.assert_array_equal(answer.indices, answers[0].indices)
            times = best_of(options.runs, calls)
            print(
                f"{n_queries:5} queries  {name:8} {share:6.1%}  "
                + "  ".join(f"{method} {times[method]:8.2f}" for method in METHODS),
                flush=True,
            )


if __name__ == "__main__":
    main()
