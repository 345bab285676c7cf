"""Top-k, ALS, BPR and WARP on a CUDA device beside torch, faiss, cuVS and implicit, where they are installed with CUDA.

    python benchmarks/bench_cuda.py [--rows N] [--repeats N]

Every answer is checked before anything is timed: top-k against the exact scores in float64 of a sample of queries, ALS
against the objective, BPR and WARP by the share of pairs that end in the right order.  Contenders take turns; times are
medians with the range, of synchronized calls on data that already lies on the device.  Effective rate is
2 * queries * items * factors operations over the time, whatever was really computed.  Without a device it says why and
ends.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from recsys_core import ops

TOPK = [(8192, 1_000_000, 128, 100), (1024, 1_000_000, 64, 10), (1, 1_000_000, 64, 10), (8192, 26_744, 128, 100)]
Contenders = dict[str, Callable[[], object]]


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_with_cuda():
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def wait_for_nothing() -> None:
    """For calls that end with their result on the host."""


def timed(contenders: Contenders, repeats: int, synchronize: Callable[[], None]) -> dict[str, list[float]]:
    """Seconds of each call, contenders taking turns after one call each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(repeats):
        for name, call in contenders.items():
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            times[name].append(time.perf_counter() - start)
    return times


def report(shape: str, times: dict[str, list[float]], operations: float = 0.0) -> None:
    ours = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rate = f"  {operations / median / 1e12:8.1f} effective Tops" if operations else ""
        spread = f"[{min(seconds) * 1e3:.3f}, {max(seconds) * 1e3:.3f}]"
        print(f"{shape:32} {name:24} {median * 1e3:10.3f} ms {spread:22} {median / ours:6.2f} x{rate}")


def check_topk(indices: np.ndarray, queries: np.ndarray, items: np.ndarray, k: int, name: str) -> None:
    """The scores of what was found must be the k largest, but for the rounding of the contender."""
    for row in range(0, len(queries), max(1, len(queries) // 8)):
        exact = items.astype(np.float64) @ queries[row].astype(np.float64)
        best = np.sort(exact)[::-1][:k]
        found = np.sort(exact[indices[row]])[::-1]
        tolerance = 2e-2 if "bf16" in name or "tf32" in name else 1e-4
        if not np.allclose(found, best, atol=tolerance * np.abs(best).max()):
            raise SystemExit(f"{name} returned wrong items for query {row}")


def bench_topk(n_queries: int, n_items: int, d: int, k: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    items = (rng.normal(size=(n_items, d)) * np.exp(0.3 * rng.normal(size=(n_items, 1)))).astype(np.float32)
    queries = rng.normal(size=(n_queries, d)).astype(np.float32)
    torch = torch_with_cuda()
    index = ops.cuda.ItemIndex(items)
    given = queries if torch is None else torch.from_numpy(queries).cuda()
    contenders: Contenders = {
        "recsys_core auto": lambda: index.topk(given, k),
        "recsys_core float32": lambda: index.topk(given, k, method="float32"),
    }
    answers = {name: call()[0].numpy() for name, call in contenders.items()}  # type: ignore[index]
    synchronize: Callable[[], None] = wait_for_nothing if torch is None else torch.cuda.synchronize
    if torch is None:
        contenders = {name: (lambda call=call: call()[1].numpy()) for name, call in contenders.items()}
    else:
        device_items = torch.from_numpy(items).cuda()
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            matrix, vectors = device_items.to(dtype), given.to(dtype)

            def multiply(matrix=matrix, vectors=vectors):
                rows = max(1, (1 << 31) // n_items)  # score matrices of at most 2 billion entries
                return torch.cat([torch.topk(part @ matrix.T, k).indices for part in vectors.split(rows)])

            contenders[f"torch matmul + topk {name}"] = multiply
            answers[f"torch matmul + topk {name}"] = multiply().cpu().numpy()
    try:
        import faiss

        flat = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(d))
        flat.add(items)
        contenders["faiss flat"] = lambda: flat.search(queries, k)
        answers["faiss flat"] = flat.search(queries, k)[1]
    except (ImportError, AttributeError):
        pass
    try:
        from cuvs.neighbors import brute_force
    except ImportError:
        pass
    else:
        if torch is not None:  # its arrays are what cuVS is given
            built = brute_force.build(device_items, metric="inner_product")
            contenders["cuvs brute force"] = lambda: brute_force.search(built, given, k)
            answers["cuvs brute force"] = torch.as_tensor(brute_force.search(built, given, k)[1]).cpu().numpy()
    for name, indices in answers.items():
        check_topk(indices, queries, items, k, name)
    operations = 2.0 * n_queries * n_items * d
    report(f"{n_queries} x {n_items} x {d}, {k}", timed(contenders, repeats, synchronize), operations)


def long_tailed(n_users: int, n_items: int, nnz: int) -> sp.csr_matrix:
    rng = np.random.default_rng(1)
    items = np.minimum((n_items * rng.power(0.35, size=nnz)).astype(np.int64), n_items - 1)
    users = np.minimum((n_users * rng.power(0.6, size=nnz)).astype(np.int64), n_users - 1)
    matrix = sp.csr_matrix((np.ones(nnz, dtype=np.float32), (users, items)), shape=(n_users, n_items))
    matrix.data[:] = 1
    return matrix


def fit_als(matrix: sp.csr_matrix, f: int, solver: str, n_iterations: int, compute_loss: bool) -> list[tuple]:
    """The clock and the objective after each iteration."""
    ticks: list[tuple[float, float]] = []
    ops.cuda.als(
        matrix,
        f,
        regularization=10.0,
        alpha=10.0,
        n_iterations=n_iterations,
        solver=solver,
        callback=lambda _, loss: ticks.append((time.perf_counter(), loss)),
        compute_loss=compute_loss,
    )
    return ticks


def bench_als(repeats: int) -> None:
    matrix = long_tailed(138_493, 26_744, 20_000_000)
    for f in (64, 128):
        objectives = {solver: fit_als(matrix, f, solver, 5, True)[-1][1] for solver in ("cholesky", "cg")}
        if not 0.95 < objectives["cholesky"] / objectives["cg"] < 1.05:
            raise SystemExit(f"the solvers disagree at f = {f}: {objectives}")
        for solver in ("cholesky", "cg"):
            clock = [tick[0] for tick in fit_als(matrix, f, solver, repeats + 1, False)]
            report(f"als 20M, f = {f}, an iteration", {f"recsys_core {solver}": list(np.diff(clock))})
        try:
            from implicit.gpu.als import AlternatingLeastSquares
        except ImportError:
            continue
        model = AlternatingLeastSquares(factors=f, regularization=10.0, iterations=repeats)
        start = time.perf_counter()
        model.fit(matrix * 11.0, show_progress=False)  # its confidence is the stored value: 1 + 10
        report(f"als 20M, f = {f}, an iteration", {"implicit gpu cg": [(time.perf_counter() - start) / repeats]})


def ordered_share(matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray, bias: np.ndarray) -> float:
    """The share of pairs of a stored and a random item that are scored in that order."""
    rng = np.random.default_rng(2)
    entries = rng.choice(matrix.nnz, 100_000)
    rows = np.searchsorted(matrix.indptr, entries, side="right") - 1
    stored, other = matrix.indices[entries], rng.integers(matrix.shape[1], size=len(entries))
    margins = np.einsum("ij,ij->i", users[rows], items[stored] - items[other]) + bias[stored] - bias[other]
    return float((margins > 0).mean())


def bench_sgd(repeats: int) -> None:
    matrix = long_tailed(138_493, 26_744, 20_000_000)
    f = 64
    for name, train in (("bpr", ops.cuda.bpr), ("warp", ops.cuda.warp)):
        clock: list[float] = []

        def tick(_: int, __: float, clock: list[float] = clock) -> None:
            clock.append(time.perf_counter())

        factors = train(matrix, f, n_epochs=repeats + 1, callback=tick)
        if ordered_share(matrix, *(part.numpy() for part in factors)) < 0.9:
            raise SystemExit(f"{name} did not learn to order")
        report(f"{name} 20M, f = {f}, an epoch", {"recsys_core": list(np.diff(clock))})
    try:
        from implicit.gpu.bpr import BayesianPersonalizedRanking
    except ImportError:
        return
    model = BayesianPersonalizedRanking(factors=f, iterations=repeats, verify_negative_samples=True)
    start = time.perf_counter()
    model.fit(matrix, show_progress=False)
    report(f"bpr 20M, f = {f}, an epoch", {"implicit gpu": [(time.perf_counter() - start) / repeats]})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="use at most so many items, for a quick look")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    state = ops.cuda_state()
    if state.problem is not None:
        print(f"nothing to measure: {state.problem}")
        return 0
    card = next(device for device in state.devices if device.problem is None)
    packages = {name: version(name) for name in ("numpy", "torch", "faiss-gpu-cu12", "cuvs-cu13", "implicit")}
    print(f"{card.name}, driver for CUDA {state.driver}, built with {state.runtime}; {packages}")
    for n_queries, n_items, d, k in TOPK:
        bench_topk(n_queries, min(n_items, arguments.rows or n_items), d, k, arguments.repeats)
    if arguments.rows is None:
        bench_als(arguments.repeats)
        bench_sgd(arguments.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
