"""Seconds an ALS iteration takes: this library and implicit, by solver and number of factors.

    python benchmarks/bench_als.py [--threads N]

The data are synthetic, with the shape and the long tails of two public sets.  Before anything is timed, each pair of
solvers must reach the same value of the objective from its own start, or the script fails.  Iterations of the two
libraries take turns, so that a busy machine slows both; medians are reported, with the quartiles' distance as a
share of the median.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit runs its own threads; read when NumPy is imported

import time
from importlib.metadata import version

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from recsys_core import ops

REGULARIZATION, ALPHA = 0.1, 2.0
SHAPES = {"943 x 1,682": (943, 1682, 130_000), "6,040 x 3,706": (6040, 3706, 500_000)}


def long_tailed(n_users: int, n_items: int, n_events: int) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    users, items = rng.lognormal(0, 1.0, n_users), rng.lognormal(0, 1.4, n_items)
    places = rng.choice(n_users, n_events, p=users / users.sum()), rng.choice(n_items, n_events, p=items / items.sum())
    matrix = sp.csr_matrix((np.ones(n_events, dtype=np.float32), places), shape=(n_users, n_items))
    matrix.sum_duplicates()
    return matrix


def objective(interactions: sp.csr_matrix, X: np.ndarray, Y: np.ndarray) -> float:
    """The objective in float64, by <X^T X, Y^T Y> = sum (x_u . y_i)^2 and a correction for the stored cells."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    coo = interactions.tocoo()
    stored = np.einsum("nf,nf->n", X[coo.row], Y[coo.col])
    loss = ((X.T @ X) * (Y.T @ Y)).sum() + ((1 + ALPHA * coo.data) * (1 - stored) ** 2 - stored**2).sum()
    return float(loss + REGULARIZATION * ((X**2).sum() + (Y**2).sum()))


class Ours:
    """One fit; each step is one iteration, timed between two callbacks."""

    def __init__(self, interactions: sp.csr_matrix, n_factors: int, solver: str, n_threads: int) -> None:
        self.arguments = (interactions, n_factors)
        self.settings = {"regularization": REGULARIZATION, "alpha": ALPHA, "solver": solver, "n_threads": n_threads}

    def fit(self, n_iterations: int) -> tuple[np.ndarray, np.ndarray]:
        return ops.als(*self.arguments, n_iterations=n_iterations, **self.settings)

    def seconds(self, n_iterations: int) -> float:
        # One iteration more, less one: what is done once a fit (transposing, copying) is not an iteration.
        start = time.perf_counter()
        self.fit(1)
        between = time.perf_counter()
        self.fit(1 + n_iterations)
        return (time.perf_counter() - between - (between - start)) / n_iterations


class Implicit:
    def __init__(self, interactions: sp.csr_matrix, n_factors: int, solver: str, n_threads: int) -> None:
        self.confidences = interactions.copy()  # implicit takes the stored value as the confidence
        self.confidences.data = 1 + ALPHA * interactions.data
        self.make = lambda n_iterations: AlternatingLeastSquares(
            n_factors,
            regularization=REGULARIZATION,
            iterations=n_iterations,
            use_cg=solver == "cg",
            num_threads=n_threads,
            random_state=0,
        )

    def fit(self, n_iterations: int) -> tuple[np.ndarray, np.ndarray]:
        model = self.make(n_iterations)
        model.fit(self.confidences, show_progress=False)
        return model.user_factors, model.item_factors

    def seconds(self, n_iterations: int) -> float:
        times: list[float] = []
        self.make(n_iterations).fit(
            self.confidences, show_progress=False, callback=lambda iteration, seconds, loss: times.append(seconds)
        )
        return float(np.mean(times))


def compare(interactions: sp.csr_matrix, n_factors: int, solver: str, n_threads: int) -> str:
    ours = Ours(interactions, n_factors, solver, n_threads)
    theirs = Implicit(interactions, n_factors, solver, n_threads)
    losses = [objective(interactions, *side.fit(8)) for side in (ours, theirs)]
    if losses[0] > 1.05 * losses[1]:
        raise SystemExit(f"{solver}, {n_factors} factors: objective {losses[0]:.0f}, implicit reaches {losses[1]:.0f}")
    times = np.array([[ours.seconds(6), theirs.seconds(1)] for _ in range(3)])
    median = np.median(times, axis=0)
    spread = (np.quantile(times, 0.75, axis=0) - np.quantile(times, 0.25, axis=0)) / median
    return (
        f"{n_factors:4} {solver:9} {median[0]:8.4f} s ({spread[0]:4.0%}) {median[1]:8.4f} s ({spread[1]:4.0%}) "
        f"{median[1] / median[0]:6.1f}x   {losses[0] / losses[1]:6.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=ops.max_threads())
    n_threads = parser.parse_args().threads
    print(f"recsys-core {version('recsys-core')} on {ops.isa()}, implicit {version('implicit')}, {n_threads} thread(s)")
    for name, shape in SHAPES.items():
        interactions = long_tailed(*shape)
        print(f"\n{name}, {interactions.nnz:,} entries; seconds an iteration, and objective ours / theirs")
        print("   f solver            ours            implicit    ratio  objective")
        for n_factors in (64, 128):
            for solver in ("cholesky", "cg"):
                print(compare(interactions, n_factors, solver, n_threads), flush=True)


if __name__ == "__main__":
    main()
