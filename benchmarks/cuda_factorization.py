"""ALS, BPR and WARP on a device beside implicit."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from cuda_checks import long_tailed
from cuda_timing import report, torch_with_cuda

from recsys_core import ops


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


@contextlib.contextmanager
def little_memory(bytes_left: int) -> Iterator[None]:
    """Leave so much of the device's memory free, where torch can take the rest."""
    torch = torch_with_cuda()
    if torch is None:
        yield
        return
    torch.cuda.empty_cache()
    ballast = torch.empty(max(0, torch.cuda.mem_get_info()[0] - bytes_left), dtype=torch.uint8, device="cuda")
    yield
    del ballast
    torch.cuda.empty_cache()


def bench_tiles(shape: tuple[int, int, int], f: int, repeats: int) -> None:
    """ALS whose factors stay on the host and come tile by tile, beside the same with all on the device."""
    matrix = long_tailed(*shape)
    both = 4 * f * (matrix.shape[0] + matrix.shape[1])
    times, objectives = {}, []
    for place, bytes_left in (("on the device", 1 << 62), ("in tiles", both)):
        for solver, precision in (("cholesky", "float32"), ("cholesky", "mixed"), ("cg", "float32")):
            with little_memory(bytes_left):
                ticks: list[tuple[float, float]] = []
                settings = {"regularization": 10.0, "alpha": 10.0, "solver": solver, "precision": precision}
                ops.als(
                    matrix,
                    f,
                    **settings,
                    n_iterations=repeats + 1,
                    callback=lambda _, loss, ticks=ticks: ticks.append((time.perf_counter(), loss)),
                    device="cuda",
                )
            times[f"{solver} {precision}, {place}"] = list(np.diff([tick[0] for tick in ticks]))
            objectives.append(ticks[-1][1])
    if max(objectives) > 1.05 * min(objectives):
        raise SystemExit(f"als in tiles does not find what it finds without: {objectives}")
    report(f"als {matrix.nnz / 1e6:.1f}M, f = {f}, with loss", times)


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
