"""What a device computes against float64, on random inputs of odd sizes and in memory that was filled with NaN."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from cuda_timing import torch_with_cuda

from recsys_core import ops


def check_topk(indices: np.ndarray, queries: np.ndarray, items: np.ndarray, k: int, name: str) -> None:
    """The scores of what was found must be the k largest, but for the rounding of the contender."""
    for row in range(0, len(queries), max(1, len(queries) // 8)):
        exact = items.astype(np.float64) @ queries[row].astype(np.float64)
        best = np.sort(exact)[::-1][:k]
        found = np.sort(exact[indices[row]])[::-1]
        tolerance = 2e-2 if "bf16" in name or "tf32" in name else 1e-4
        if not np.allclose(found, best, atol=tolerance * np.abs(best).max()):
            raise SystemExit(f"{name} returned wrong items for query {row}")


def long_tailed(n_users: int, n_items: int, nnz: int) -> sp.csr_matrix:
    rng = np.random.default_rng(1)
    items = np.minimum((n_items * rng.power(0.35, size=nnz)).astype(np.int64), n_items - 1)
    users = np.minimum((n_users * rng.power(0.6, size=nnz)).astype(np.int64), n_users - 1)
    matrix = sp.csr_matrix((np.ones(nnz, dtype=np.float32), (users, items)), shape=(n_users, n_items))
    matrix.data[:] = 1
    return matrix


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
