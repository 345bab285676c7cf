"""Seconds an ALS iteration takes, and seconds to the loss of exact ALS: this library, implicit and cmfrec.

    python benchmarks/bench_als.py [--threads N] [--shapes small,medium] [--factors 64,128,256]

The data are synthetic, with the shapes and the long tails of two public sets.  All libraries minimize one objective
(als_contenders.py).  Ours and implicit start from the same factors; cmfrec cannot be given any, so that its number of
iterations owes something to chance.

Before anything is timed, iterations are counted until the objective is, within 0.1%, what exact ALS has after 15; ours
must come there, or the script fails.  implicit's exact solver must agree with ours after 2 iterations, and exact ones
are taken to need as many as ours.  Then contenders take turns, so that a busy machine slows all;
medians are reported, with the quartiles' distance as a share of the median.  What is done once a fit (transposing,
copying) counts nowhere.  "to loss" is iterations times seconds an iteration.

GFLOP/s count what a textbook solver does: n f^2 + f^3 / 3 operations for an exact row of n entries, and
(s + 1) (4 n f + 2 f^2) for s steps of conjugate gradients; an exact solver that finds a shorter way shows more than it
executes.  GB/s count a row of factors for each entry, read once on either side, and each row written once: less than
what is moved where a row does not stay in a cache, and more where rows come from one.  The first line says what the
machine's matrix product and copying reach in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the libraries run their own threads; read when NumPy is imported

from importlib.metadata import version

import numpy as np
import scipy.sparse as sp
from als_contenders import Cmfrec, Contender, Implicit, Ours, gflop_an_iteration, gigabytes_an_iteration, objective
from ceilings import copy_gigabytes, product_gflops

from recsys_core import ops

EXACT_ITERATIONS, TOLERANCE, MOST_ITERATIONS, ROUNDS = 15, 1e-3, 40, 3
SHAPES = {
    "small": (943, 1_682, 130_000),
    "medium": (6_040, 3_706, 500_000),
}


def long_tailed(n_users: int, n_items: int, n_events: int) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    users, items = rng.lognormal(0, 1.0, n_users), rng.lognormal(0, 1.4, n_items)
    places = rng.choice(n_users, n_events, p=users / users.sum()), rng.choice(n_items, n_events, p=items / items.sum())
    matrix = sp.csr_matrix((np.ones(n_events, dtype=np.float32), places), shape=(n_users, n_items))
    matrix.sum_duplicates()
    return matrix


def compare(interactions: sp.csr_matrix, n_factors: int, n_threads: int) -> None:
    def make(kind: type[Contender], solver: str) -> Contender:
        return kind(interactions, n_factors, solver, n_threads)

    exact, rival = make(Ours, "cholesky"), make(Implicit, "cholesky")
    target = objective(interactions, *exact.fit(EXACT_ITERATIONS)) * (1 + TOLERANCE)
    ours, theirs = (objective(interactions, *side.fit(2)) for side in (exact, rival))
    if abs(theirs / ours - 1) > 1e-4:
        raise SystemExit(f"{n_factors} factors: after 2 exact iterations implicit has {theirs:.0f}, ours {ours:.0f}")
    n_exact = exact.iterations_to(target, EXACT_ITERATIONS)
    needed = {exact: n_exact, rival: n_exact}
    iterative = [make(Ours, "cg"), make(Ours, "subspace"), make(Implicit, "cg")]
    if importlib.util.find_spec("cmfrec") is not None:
        iterative.append(make(Cmfrec, "cg"))
        needed[make(Cmfrec, "cholesky")] = n_exact
    for contender in iterative:
        needed[contender] = contender.iterations_to(target, MOST_ITERATIONS)
        if needed[contender] is None and isinstance(contender, Ours):
            raise SystemExit(f"{n_factors} factors: {contender.name} does not come to the loss of exact ALS")

    times: dict[Contender, list[float]] = {contender: [] for contender in needed}
    for _ in range(ROUNDS):
        for contender, seconds in times.items():
            slow = contender.solver == "cholesky" and not isinstance(contender, Ours)
            seconds.append(contender.seconds(1 if slow else 5))
    to_loss = {
        contender: float("inf") if n is None else n * float(np.median(times[contender]))
        for contender, n in needed.items()
    }
    best_rival = min(to_loss[contender] for contender in needed if not isinstance(contender, Ours))
    rival_exact = float(np.median(times[rival]))
    for contender, seconds in times.items():
        low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        ratios = ""
        if isinstance(contender, Ours):
            ratios = f"{best_rival / to_loss[contender]:5.1f}x the best other to the loss"
            if contender is exact:
                ratios += f", {rival_exact / median:.1f}x implicit's iteration"
        gflops, gigabytes = gflop_an_iteration(contender) / median, gigabytes_an_iteration(contender) / median
        print(
            f"{n_factors:4} {contender.name:22} {median:8.4f} s ({(high - low) / median:4.0%}) {gflops:7.0f} "
            f"{gigabytes:5.1f} {needed[contender] or '-':>4} {to_loss[contender]:9.3f} s  {ratios}",
            flush=True,
        )


def installed(name: str) -> str:
    return f"{name} {version(name)}" if importlib.util.find_spec(name) is not None else f"{name} not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=ops.max_threads())
    parser.add_argument("--shapes", default="small,medium", help="some of these, separated by commas")
    parser.add_argument("--factors", default="64,128,256", help="numbers of factors, separated by commas")
    arguments = parser.parse_args()
    print(
        f"recsys-core {version('recsys-core')} on {ops.isa()}, {installed('implicit')}, {installed('cmfrec')}, ", end=""
    )
    print(f"{arguments.threads} thread(s), matrix product {product_gflops(arguments.threads):.0f} GFLOP/s, ", end="")
    print(f"copying {copy_gigabytes(arguments.threads):.1f} GB/s")
    for name in arguments.shapes.split(","):
        interactions = long_tailed(*SHAPES[name])
        print(f"\n{interactions.shape[0]:,} x {interactions.shape[1]:,}, {interactions.nnz:,} entries")
        print("   f contender              iteration            GFLOP/s  GB/s  its   to loss")
        for n_factors in arguments.factors.split(","):
            compare(interactions, int(n_factors), arguments.threads)


if __name__ == "__main__":
    main()
