"""Top-k, ALS, BPR, WARP and a training step on a CUDA device beside torch, faiss, cuVS and implicit, where installed.

    python benchmarks/bench_cuda.py [--parts check,topk,als,sgd,step] [--seconds 540] [--repeats N]
    python benchmarks/bench_cuda.py --emulated build/emulated      # a dry run of every line, with tiny sizes

`check` comes first: random inputs of odd sizes, in memory that was filled with NaN where torch can do that, against
float64, and a failure ends the run.  What is timed is checked too: top-k against the exact scores in float64 of a
sample of queries, ALS against the objective, BPR and WARP by the share of pairs that end in the right order, the step
by its loss and gradients.  Contenders take turns; times are medians with the range, of synchronized calls on data that
already lies on the device.  Effective rate is 2 * queries * items * factors operations over the time, whatever was
really computed.  A part that would begin after the deadline is named and left out.  Without a device it says why and
ends.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from cuda_training_step import training_steps

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


def poison(torch) -> None:
    """Fill most of the memory that is free with NaN, so that what is read before it is written shows."""
    if torch is not None:
        bytes_free = torch.cuda.mem_get_info()[0]
        torch.full((int(0.8 * bytes_free) // 4,), float("nan"), device="cuda")
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def solve_in_float64(matrix: sp.csr_matrix, factors: np.ndarray, regularization: float, alpha: float) -> np.ndarray:
    y = factors.astype(np.float64)
    shared = y.T @ y + regularization * np.eye(y.shape[1])
    rows = np.zeros((matrix.shape[0], y.shape[1]))
    for row in range(matrix.shape[0]):
        entries = slice(*matrix.indptr[row : row + 2])
        own, values = y[matrix.indices[entries]], alpha * matrix.data[entries].astype(np.float64)
        rows[row] = np.linalg.solve(shared + own.T @ (own * values[:, None]), own.T @ (1 + values))
    return rows


def check_all(tiny: bool) -> None:
    rng = np.random.default_rng(5)
    torch = torch_with_cuda()
    n_items = 700 if tiny else 50_003
    for d in (3, 31) if tiny else (1, 3, 31, 33, 64, 128, 200):
        items = rng.normal(size=(n_items, d)).astype(np.float32)
        queries = rng.normal(size=(37, d)).astype(np.float32)
        for method in ("float32", "compact"):
            poison(torch)
            found = ops.cuda.ItemIndex(items).topk(queries, 50, method=method)[0].numpy()
            check_topk(found, queries, items, 50, method)
    matrix = long_tailed(60 if tiny else 3000, 40 if tiny else 1000, 600 if tiny else 100_000)
    for f in (7, 33) if tiny else (7, 33, 64, 128):
        factors = rng.normal(size=(matrix.shape[1], f)).astype(np.float32)
        poison(torch)
        found = ops.cuda.fold_in(matrix, factors, regularization=2.0, alpha=5.0).numpy()
        want = solve_in_float64(matrix, factors, 2.0, 5.0)
        if not np.allclose(found, want, atol=1e-4 * np.abs(want).max()):
            raise SystemExit(f"fold_in is wrong at f = {f}")
        settings = {"regularization": 2.0, "alpha": 5.0, "n_iterations": 2}
        for solver, precision in (
            ("cholesky", "float32"),
            ("cholesky", "mixed"),
            ("cg", "float32"),
            ("subspace", "float32"),
        ):
            poison(torch)
            got = ops.cuda.als(matrix, f, **settings, solver=solver, precision=precision)
            expected = ops.als(matrix, f, **settings, solver=solver)
            for mine, theirs in zip(got, expected, strict=True):
                if not np.allclose(mine.numpy(), theirs, atol=3e-3 * np.abs(theirs).max()):
                    raise SystemExit(f"als by {solver} in {precision} is wrong at f = {f}")
    print("every answer is right")


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


def fit_als(
    matrix: sp.csr_matrix, f: int, solver: str, n_iterations: int, compute_loss: bool, precision: str = "float32"
) -> list[tuple]:
    """The clock and the objective after each iteration."""
    ticks: list[tuple[float, float]] = []
    ops.cuda.als(
        matrix,
        f,
        regularization=10.0,
        alpha=10.0,
        n_iterations=n_iterations,
        solver=solver,
        precision=precision,
        callback=lambda _, loss: ticks.append((time.perf_counter(), loss)),
        compute_loss=compute_loss,
    )
    return ticks


ALS_WAYS = [("cholesky", "float32"), ("cholesky", "mixed"), ("cg", "float32"), ("subspace", "float32")]


def bench_als(shape: tuple[int, int, int], widths: tuple[int, ...], repeats: int) -> None:
    matrix = long_tailed(*shape)
    name = f"als {matrix.nnz / 1e6:.1f}M"
    for f in widths:
        objectives = {way: fit_als(matrix, f, way[0], 3, True, way[1])[-1][1] for way in ALS_WAYS}
        if max(objectives.values()) > 1.05 * min(objectives.values()):
            raise SystemExit(f"the solvers disagree at f = {f}: {objectives}")
        times = {}
        for solver, precision in ALS_WAYS:
            clock = [tick[0] for tick in fit_als(matrix, f, solver, repeats + 1, False, precision)]
            times[f"recsys_core {solver} {precision}"] = list(np.diff(clock))
        report(f"{name}, f = {f}, an iteration", times)
        model = implicit_on_gpu("als", "AlternatingLeastSquares", factors=f, regularization=10.0, iterations=repeats)
        if model is None:
            continue
        start = time.perf_counter()
        model.fit(matrix * 11.0, show_progress=False)  # its confidence is the stored value: 1 + 10
        report(f"{name}, f = {f}, an iteration", {"implicit gpu cg": [(time.perf_counter() - start) / repeats]})


def implicit_on_gpu(kind: str, name: str, **settings: object):
    """A model of implicit's, or None with the reason where it cannot train on this device."""
    try:
        model = getattr(importlib.import_module(f"implicit.gpu.{kind}"), name)(**settings)
    except (ImportError, ValueError) as error:
        print(f"implicit is left out: {error}")
        return None
    return model


def ordered_share(matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray, bias: np.ndarray) -> float:
    """The share of pairs of a stored and a random item that are scored in that order."""
    rng = np.random.default_rng(2)
    entries = rng.choice(matrix.nnz, 100_000)
    rows = np.searchsorted(matrix.indptr, entries, side="right") - 1
    stored, other = matrix.indices[entries], rng.integers(matrix.shape[1], size=len(entries))
    margins = np.einsum("ij,ij->i", users[rows], items[stored] - items[other]) + bias[stored] - bias[other]
    return float((margins > 0).mean())


def bench_sgd(shape: tuple[int, int, int], repeats: int, least_ordered: float) -> None:
    matrix = long_tailed(*shape)
    f = 64
    size = f"{matrix.nnz / 1e6:.1f}M"
    for name, train in (("bpr", ops.cuda.bpr), ("warp", ops.cuda.warp)):
        clock: list[float] = []

        def tick(_: int, __: float, clock: list[float] = clock) -> None:
            clock.append(time.perf_counter())

        factors = train(matrix, f, n_epochs=repeats + 1, callback=tick)
        if ordered_share(matrix, *(part.numpy() for part in factors)) < least_ordered:
            raise SystemExit(f"{name} did not learn to order")
        report(f"{name} {size}, f = {f}, an epoch", {"recsys_core": list(np.diff(clock))})
    settings = {"factors": f, "iterations": repeats, "verify_negative_samples": True}
    model = implicit_on_gpu("bpr", "BayesianPersonalizedRanking", **settings)
    if model is None:
        return
    start = time.perf_counter()
    model.fit(matrix, show_progress=False)
    report(f"bpr {size}, f = {f}, an epoch", {"implicit gpu": [(time.perf_counter() - start) / repeats]})


def bench_step(shapes: list[tuple[int, int, int, int]], repeats: int) -> None:
    torch = torch_with_cuda()
    device = "cpu" if torch is None else "cuda"
    synchronize = wait_for_nothing if torch is None else torch.cuda.synchronize
    for n_rows, length, n_items, d in shapes:
        contenders = training_steps(n_rows, length, n_items, d, device)
        shape = f"step {n_rows} x {length}, {n_items} items"
        report(shape if torch is not None else f"{shape}, on the CPU", timed(contenders, repeats, synchronize))


def parts_of(tiny: bool, repeats: int) -> dict[str, Callable[[], None]]:
    """Everything that can be run, by name, in order."""
    matrix = (60, 40, 600) if tiny else (138_493, 26_744, 20_000_000)
    topk = [(5, 600, 8, 10)] if tiny else TOPK
    steps = [(2, 6, 50, 8)] if tiny else [(128, 200, 26_744, 64), (128, 200, 26_744, 256), (64, 200, 500_000, 64)]
    return {
        "check": lambda: check_all(tiny),
        "topk": lambda: [bench_topk(*shape, repeats) for shape in topk] and None,
        "als": lambda: bench_als(matrix, (8,) if tiny else (64, 128), repeats),
        "sgd": lambda: bench_sgd(matrix, repeats, 0.0 if tiny else 0.9),
        "step": lambda: bench_step(steps, repeats),
    }


def load_emulation(folder: str) -> None:
    """Let a module built over an emulation of a device (`make test-cuda`) stand for the real one."""
    spec = importlib.util.spec_from_file_location("recsys_core._cuda", next(Path(folder).glob("_cuda*.so")))
    sys.modules["recsys_core._cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["recsys_core._cuda"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="check,topk,als,sgd,step")
    parser.add_argument("--seconds", type=float, default=540, help="begin no part after so many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--emulated", metavar="FOLDER", help="a dry run over an emulated device; its times mean nothing"
    )
    arguments = parser.parse_args()
    began = time.perf_counter()
    if arguments.emulated:
        load_emulation(arguments.emulated)
    state = ops.cuda_state()
    if state.problem is not None:
        print(f"nothing to measure: {state.problem}")
        return 0
    card = next(device for device in state.devices if device.problem is None)
    packages = {name: version(name) for name in ("numpy", "torch", "faiss-gpu-cu12", "cuvs-cu13", "implicit")}
    print(f"{card.name}, driver for CUDA {state.driver}, built with {state.runtime}; {packages}")
    parts = parts_of(arguments.emulated is not None, 1 if arguments.emulated else arguments.repeats)
    for name in arguments.parts.split(","):
        spent = time.perf_counter() - began
        if spent > arguments.seconds:
            print(f"{name} is left out: {spent:.0f} s have passed")
            continue
        print(f"-- {name}, after {spent:.0f} s", flush=True)
        parts[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
