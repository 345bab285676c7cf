"""The libraries that bench_als.py compares, each with its solvers, at one objective.

sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (|X|^2 + |Y|^2),   c = 1 + alpha r and p = 1 where r is stored, else 1 and 0
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_left

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from recsys_core import ops

REGULARIZATION, ALPHA = 0.1, 2.0
Factors = tuple[np.ndarray, np.ndarray]


def objective(interactions: sp.csr_matrix, X: np.ndarray, Y: np.ndarray) -> float:
    """The objective in float64, by <X^T X, Y^T Y> = sum (x_u . y_i)^2 and a correction for the stored cells."""
    rows = np.repeat(np.arange(interactions.shape[0]), np.diff(interactions.indptr))
    correction = 0.0
    for at in range(0, interactions.nnz, 2**16):
        part = slice(at, at + 2**16)
        stored = np.einsum("nf,nf->n", X[rows[part]], Y[interactions.indices[part]]).astype(np.float64)
        confidence = 1 + ALPHA * interactions.data[part].astype(np.float64)
        correction += float((confidence * (1 - stored) ** 2 - stored**2).sum())
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    return float(((X.T @ X) * (Y.T @ Y)).sum() + correction + REGULARIZATION * ((X**2).sum() + (Y**2).sum()))


def common_start(shape: tuple[int, int], n_factors: int) -> Factors:
    """Users at zero, items small and random."""
    scale = 0.1 * np.sqrt(3.0 / n_factors)
    items = np.random.default_rng(0).uniform(-scale, scale, (shape[1], n_factors))
    return np.zeros((shape[0], n_factors), np.float32), items.astype(np.float32)


class Contender(ABC):
    """One solver of one library, ready to factorize one matrix."""

    library: str

    def __init__(self, interactions: sp.csr_matrix, n_factors: int, solver: str, n_threads: int) -> None:
        self.interactions, self.n_factors, self.solver, self.n_threads = interactions, n_factors, solver, n_threads

    @property
    def name(self) -> str:
        return f"{self.library} {self.solver}"

    @abstractmethod
    def fit(self, n_iterations: int) -> Factors:
        """Factors after so many iterations."""

    def iterations_to(self, target: float, most: int) -> int | None:
        """How many iterations bring the objective down to the target; None if so many do not."""
        found = bisect_left(
            range(1, most + 1), True, key=lambda n: objective(self.interactions, *self.fit(n)) <= target
        )
        return found + 1 if found < most else None

    def seconds(self, n_iterations: int) -> float:
        """Seconds an iteration: of a fit with so many more than one, less a fit of one."""
        start = time.perf_counter()
        self.fit(1)
        between = time.perf_counter()
        self.fit(1 + n_iterations)
        return (time.perf_counter() - between - (between - start)) / n_iterations


class Ours(Contender):
    library = "recsys_core"
    n_cg_steps = 2

    def fit(self, n_iterations: int, callback: object = None) -> Factors:
        return ops.als(
            self.interactions,
            self.n_factors,
            regularization=REGULARIZATION,
            alpha=ALPHA,
            n_iterations=n_iterations,
            solver=self.solver,
            n_cg_steps=self.n_cg_steps,
            initial=common_start(self.interactions.shape, self.n_factors),
            n_threads=self.n_threads,
            callback=callback,
        )


class Implicit(Contender):
    library = "implicit"
    n_cg_steps = 3

    def __init__(self, interactions: sp.csr_matrix, n_factors: int, solver: str, n_threads: int) -> None:
        super().__init__(interactions, n_factors, solver, n_threads)
        self.confidences = interactions.copy()  # implicit takes the stored value as the confidence
        self.confidences.data = 1 + ALPHA * interactions.data

    def fit(self, n_iterations: int, callback: object = None) -> Factors:
        model = AlternatingLeastSquares(
            self.n_factors,
            regularization=REGULARIZATION,
            iterations=n_iterations,
            use_cg=self.solver == "cg",
            num_threads=self.n_threads,
        )
        model.user_factors, model.item_factors = common_start(self.interactions.shape, self.n_factors)
        model.fit(self.confidences, show_progress=False, callback=callback)
        return model.user_factors, model.item_factors

    def seconds(self, n_iterations: int) -> float:
        times: list[float] = []
        self.fit(n_iterations, lambda iteration, seconds, loss: times.append(seconds))
        return float(np.mean(times))


class Cmfrec(Contender):
    """Takes no start, and its conjugate gradients end at a higher objective, whatever the number of steps."""

    library = "cmfrec"
    n_cg_steps = 3

    def fit(self, n_iterations: int) -> Factors:
        from cmfrec import CMF_implicit

        model = CMF_implicit(
            k=self.n_factors,
            lambda_=REGULARIZATION,
            alpha=ALPHA,
            niter=n_iterations,
            use_cg=self.solver == "cg",
            max_cg_steps=self.n_cg_steps,
            finalize_chol=False,
            use_float=True,
            precompute_for_predictions=False,
            nthreads=self.n_threads,
            random_state=0,
            verbose=False,
        )
        model.fit(self.interactions.tocoo())
        return model.A_, model.B_


def gflop_an_iteration(contender: Contender) -> float:
    """What a textbook solver does for it, in 10^9 operations; "subspace" has no textbook and counts as nothing."""
    matrix, f = contender.interactions, contender.n_factors
    n_rows = np.count_nonzero(np.diff(matrix.indptr)) + len(np.unique(matrix.indices))
    if contender.solver == "cholesky":
        return (2 * matrix.nnz * f**2 + n_rows * f**3 / 3) / 1e9
    if contender.solver == "cg":
        return (contender.n_cg_steps + 1) * (8 * matrix.nnz * f + 2 * n_rows * f**2) / 1e9
    return float("nan")


def gigabytes_an_iteration(contender: Contender) -> float:
    """A row of factors for each entry, read once on either side, and each row written once, in 10^9 bytes."""
    matrix, f = contender.interactions, contender.n_factors
    return 4 * f * (2 * matrix.nnz + sum(matrix.shape)) / 1e9
