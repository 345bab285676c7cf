"""ALS on many interactions: seconds an iteration, objective and peak memory, read from a memory-mapped matrix.

    python benchmarks/bench_als_large.py [--shape 13M|100M] [--solvers cg,cholesky,implicit,parquet]
                                         [--factors 128] [--iterations 3] [--threads N] [--folder DIR]

The data are synthetic, with long tails of users and of items: 13 million entries in the shape of MovieLens-20M, or 100
million of a million users and 100,000 items.  They are made once, a part of the users at a time, in DIR.  Every
contender runs in a process of its own, from one start (als_contenders.py).  The peak is the process's resident memory,
with the pages of the mapped matrix and about 100 MiB of interpreter and packages.  An iteration's seconds are those of
all but the first.

"parquet" goes the whole way of a user: the model `als`, by conjugate gradients, on the same events out of order, read
by their ids from a Parquet file.  It is timed as a whole, apart from the reading, and its objective is not computed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the libraries run their own threads; read when NumPy is imported

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from als_contenders import Implicit, Ours, objective

from recsys_core import Interactions, create, ops

# Users, items, events drawn; a user has an item once.
SHAPES = {"13M": (138_493, 26_744, 14_600_000), "100M": (1_000_000, 100_000, 107_000_000)}
ITEM_TAIL, USER_TAIL = 1.7, 1.0
ARRAYS = {"indptr": np.int64, "indices": np.int32, "data": np.float32}


def make(n_users: int, n_items: int, n_events: int, folder: Path) -> None:
    """Write the arrays of a CSR matrix, without ever holding more than a part of it."""
    rng = np.random.default_rng(0)
    activity = rng.lognormal(0, USER_TAIL, n_users)
    counts = np.minimum(rng.poisson(n_events * activity / activity.sum()) + 1, n_items // 2)
    popularity = rng.lognormal(0, ITEM_TAIL, n_items)
    cumulative = np.cumsum(popularity / popularity.sum())
    cumulative[-1] = 1.0
    folder.mkdir(parents=True)
    indptr = np.zeros(n_users + 1, np.int64)
    with (folder / "indices.bin").open("wb") as file:
        for first in range(0, n_users, 50_000):
            last = min(first + 50_000, n_users)
            users = np.repeat(np.arange(last - first), counts[first:last])
            items = np.searchsorted(cumulative, rng.random(len(users), dtype=np.float32), side="right")
            keys = np.unique(users * n_items + np.minimum(items, n_items - 1))
            indptr[first + 1 : last + 1] = np.bincount(keys // n_items, minlength=last - first)
            (keys % n_items).astype(np.int32).tofile(file)
    np.cumsum(indptr, out=indptr)
    indptr.tofile(folder / "indptr.bin")
    with (folder / "data.bin").open("wb") as file:
        for at in range(0, int(indptr[-1]), 2**24):
            np.ones(min(2**24, int(indptr[-1]) - at), np.float32).tofile(file)


def mapped(shape: tuple[int, int], folder: Path) -> sp.csr_matrix:
    parts = {name: np.memmap(folder / f"{name}.bin", dtype, mode="r") for name, dtype in ARRAYS.items()}
    matrix = sp.csr_matrix(shape, dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = parts["data"], parts["indices"], parts["indptr"]
    return matrix


def write_parquet(shape: str, folder: Path) -> Path:
    """The events with ids of eight digits: shuffled within parts of 2**24, and the parts in random order."""
    path = folder / "events.parquet"
    if path.exists():
        return path
    interactions = mapped(SHAPES[shape][:2], folder)
    rng = np.random.default_rng(0)
    parts: list[Path] = []
    for first in rng.permutation(np.arange(0, interactions.nnz, 2**24)):
        events = first + rng.permutation(min(2**24, interactions.nnz - first))
        users = np.searchsorted(interactions.indptr, events, side="right") - 1
        ids = {"user_id": 10_000_000 + users, "item_id": 20_000_000 + interactions.indices[events].astype(np.int64)}
        parts.append(folder / f"events-{first}.part")
        pl.DataFrame(ids).write_parquet(parts[-1])
    pl.concat(pl.scan_parquet(part) for part in parts).sink_parquet(path)
    for part in parts:
        part.unlink()
    return path


def measure_parquet(path: Path, n_factors: int, n_iterations: int, n_threads: int) -> None:
    model = create("als", n_factors=n_factors, n_iterations=n_iterations, solver="cg", n_threads=n_threads)
    start = time.perf_counter()
    interactions = Interactions.read(path)
    read = time.perf_counter() - start
    start = time.perf_counter()
    model.fit(interactions)
    whole = time.perf_counter() - start
    print(
        f"{'als from Parquet':20} {read:8.1f} s to read {path.stat().st_size / 2**30:.2f} GiB, "
        f"{whole:8.1f} s for {n_iterations}, peak {peak_gib():6.2f} GiB"
    )


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(shape: str, folder: Path, solver: str, n_factors: int, n_iterations: int, n_threads: int) -> None:
    interactions = mapped(SHAPES[shape][:2], folder)
    kind, solver = (Implicit, "cg") if solver == "implicit" else (Ours, solver)
    contender = kind(interactions, n_factors, solver, n_threads)
    ends: list[float] = []

    def note(*_: object) -> None:
        ends.append(time.perf_counter())

    start = time.perf_counter()
    factors = contender.fit(n_iterations, note)
    whole = time.perf_counter() - start
    peak = peak_gib()
    loss = objective(interactions, *factors)
    seconds = float(np.median(np.diff(ends)))
    print(
        f"{contender.name:20} {seconds:8.2f} s an iteration, {whole:8.1f} s for {n_iterations}, "
        f"peak {peak:6.2f} GiB, objective {loss:.6g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="13M")
    parser.add_argument("--solvers", default="cg,implicit", help="cg, cholesky, subspace (ours), implicit, and parquet")
    parser.add_argument("--factors", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=3, help="at least 2")
    parser.add_argument("--threads", type=int, default=ops.max_threads())
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "recsys-bench-als")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder / given.shape
    if given.child == "parquet":
        measure_parquet(folder / "events.parquet", given.factors, given.iterations, given.threads)
        return
    if given.child is not None:
        measure(given.shape, folder, given.child, given.factors, given.iterations, given.threads)
        return
    if not folder.exists():
        make(*SHAPES[given.shape], folder)
    nnz = (folder / "indices.bin").stat().st_size // 4
    n_users, n_items, _ = SHAPES[given.shape]
    print(
        f"{n_users:,} x {n_items:,}, {nnz:,} entries, {given.factors} factors, {ops.isa()}, {given.threads} thread(s)"
    )
    print(
        f"matrix {nnz * 8 / 2**30:.2f} GiB, factors {(n_users + n_items) * given.factors * 4 / 2**30:.2f} GiB",
        flush=True,
    )
    for solver in given.solvers.split(","):
        if solver == "parquet":
            write_parquet(given.shape, folder)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child", solver], check=True)


if __name__ == "__main__":
    main()
