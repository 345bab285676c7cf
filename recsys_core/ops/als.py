"""Implicit-feedback matrix factorization by alternating least squares: :func:`als`.

Each half of an iteration first changes coordinates so that what all rows share, ``w Y^T Y + lambda I``, becomes the
identity; ``(n_users + n_items) f^2`` multiply-adds.  A row of n entries then costs ``n f^2 / 2 + f^3 / 6``, or
``n^2 f / 2 + n^3 / 6`` where that is less ("cholesky"; not with an exponent), ``2 n f`` for each step and
once more ("cg"), or ``n f d / 2 + 3 n f + f d^2 / 6`` for blocks of d ("subspace").  With an exponent each step
adds ``f^2``.  The loss, where it is wanted, costs ``nnz f``: the sum over all cells is the inner product of the two
Gram matrices.

Memory: the interactions once more (transposed, 8 bytes an entry), one side's factors once more, and where f is no
multiple of 16 both once more again.

All sums are in float32 and in an order that depends on the data alone, so the result has the same bits for any
number of threads; it differs in the last places between instruction sets (:func:`isa`).  Ctrl-C ends a call soon, on a
device after the iteration.

Y. Hu, Y. Koren and C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equations 3
(objective), 4 and 5 (the two solves).  G. Takacs, I. Pilaszy and D. Tikk, "Applications of the Conjugate Gradient
Method for Implicit Feedback Collaborative Filtering", RecSys 2011, for "cg", which the change of coordinates
preconditions.  S. Rendle et al., "iALS++: Speeding up Matrix Factorization with Subspace Optimization", 2021, arXiv
2110.14044, for "subspace", whose blocks are here of the changed coordinates.  S. Rendle et al., "Revisiting the
Performance of iALS on Item Recommendation Benchmarks", 2021, arXiv 2110.14037, for the scaled regularization and
the starting scale, with uniform in place of normal numbers; their unobserved weight counts for stored cells too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from recsys_core import _core
from recsys_core.errors import ConfigError, DataError, ShapeError
from recsys_core.ops import _validate, cuda_als
from recsys_core.ops._collapse import warn_of_collapse
from recsys_core.ops.cuda_arrays import without_factors
from recsys_core.ops.cuda_devices import chosen_device

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from recsys_core.types import CSR, FloatArray

__all__ = ["als"]

_SOLVERS = ("auto", "cholesky", "cg", "subspace")


def als(
    interactions: CSR,
    n_factors: int = 64,
    *,
    regularization: float = 0.01,
    regularization_exponent: float = 0.0,
    alpha: float = 1.0,
    unobserved_weight: float = 1.0,
    n_iterations: int = 15,
    solver: Literal["auto", "cholesky", "cg", "subspace"] = "auto",
    n_cg_steps: int = 2,
    block_size: int = 32,
    precision: Literal["float32", "mixed"] = "float32",
    initial: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    tolerance: float = 0.0,
    validate: Callable[[FloatArray, FloatArray], float | None] | None = None,
    patience: int = 2,
    random_state: int = 0,
    n_threads: int = 0,
    callback: Callable[[int, float], object] | None = None,
    compute_loss: bool = True,
    device: str = "cpu",
) -> tuple[FloatArray, FloatArray]:
    r"""Factorize implicit feedback by alternating least squares.

    .. math::

        \min_{X, Y} \sum_{u, i} c_{ui} (p_{ui} - x_u^T y_i)^2
        + \sum_u \lambda_u |x_u|^2 + \sum_i \lambda_i |y_i|^2

    The sum runs over all users and items.  A stored entry r has preference p = 1 and confidence c = 1 + alpha r; every
    other cell has p = 0 and c = `unobserved_weight`.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items), float32, finite and not negative.  Entries that repeat within a row are summed.
        A stored zero counts as an interaction of confidence 1.  Arrays of these types are read where they are, so that
        they may be memory-mapped.
    n_factors
        Length f of the vectors, at least 1.
    regularization
        lambda, at least 0.
    regularization_exponent
        :math:`\nu`, at least 0: a row of n entries has :math:`\lambda_u = \lambda (n + w\, n_{items})^\nu`, w being
        `unobserved_weight`, and a column likewise.  0 is the same constant for all; with 1 a lambda of 1e-4 to 1e-2
        is usual.
    alpha
        Growth of confidence with the stored value, at least 0.
    unobserved_weight
        Confidence of the cells that are not stored, in [0, 1].
    n_iterations
        Number of iterations, at least 1; each solves for all users and then for all items.
    solver
        "cholesky" solves each row exactly.  "cg" takes `n_cg_steps` steps of preconditioned conjugate gradients from
        the row's present value, which is close to exact and much cheaper for many factors.  "subspace" (iALS++) goes
        once over blocks of `block_size` coordinates and solves each exactly.  "auto" is "cholesky" up to 64 factors and
        "cg" above.
    n_cg_steps
        At least 1.
    block_size
        Coordinates a block of "subspace", at least 1.
    precision
        "mixed", on a CUDA device only, sums the matrices of "cholesky" on tensor cores and corrects the rows; see
        :func:`recsys_core.ops.cuda.als`.
    initial
        What to go on from: the result of a fit, or other ``(user_factors, item_factors)`` of its shapes; None starts at
        random.  Users come first, and "cholesky" solves them from the items alone.
    tolerance
        Stop after an iteration that lowers the objective by less than this share of it; 0 never stops.
    validate
        Called as ``validate(user_factors, item_factors)`` after each iteration with the arrays of the fit, to be read
        and not kept; returns a number of which more is better.  When `patience` iterations in a row have not given
        more, the fit ends, and it returns the factors of the best one.  One that returns None each time only looks on.
    patience
        At least 1.
    random_state
        Seed, in [0, 2**64).  Items start uniform in ``0.1 * sqrt(3 / f) * (-1, 1)``, users at zero.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.
    callback
        Called as ``callback(iteration, loss)`` after each iteration, counted from 0, with the value of the objective;
        a true return value stops.  An exception it raises ends the call and arrives at the caller.
    compute_loss
        Whether to compute the objective for `callback`; where False it gets NaN, unless `tolerance` needs it.  Say
        False for a callback that only reports progress, and iterations cost what they cost without one.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``.  Factors, or interactions, that do not fit a device's memory go
        through it in parts.  :func:`recsys_core.ops.cuda.als` leaves the result there.

    Returns
    -------
    user_factors : numpy.ndarray
        X, float32, shape (n_users, n_factors).
    item_factors : numpy.ndarray
        Y, float32, shape (n_items, n_factors).  A user or item without interactions has zeros.

    Raises
    ------
    DataError
        No interactions, a negative or non-finite one, or systems that are singular in float32 (a larger
        `regularization` mends it).
    DTypeError
        `interactions` is not CSR.
    ShapeError
        `initial` does not fit.
    ConfigError
        A setting is out of range or not to be had on `device`, or `validate` returns no finite number.
    DeviceError
        `device` cannot be used.

    Warns
    -----
    UserWarning
        All factors are next to zero: the regularization outweighs the data.

    Notes
    -----
    Cost, memory, determinism and sources are at the top of ``recsys_core/ops/als.py``.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 3]], dtype=np.float32))
    >>> user_factors, item_factors = als(interactions, n_factors=2, alpha=10.0)
    >>> (user_factors @ item_factors.T > 0.5).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    _validate.one_of(solver, "solver", _SOLVERS)
    _validate.function(validate, "validate")
    _validate.function(callback, "callback")
    arrays = _validate.unique_csr_arrays(interactions, "interactions")
    factors = _make_factors((len(arrays[0]) - 1, arrays[3]), _integer(n_factors, "n_factors"), initial)
    watch = None if validate is None else _BestSoFar(factors, validate, _integer(patience, "patience"), callback)
    on_device = chosen_device(device) is not None
    if _validate.one_of(precision, "precision", ("float32", "mixed")) == "mixed" and not on_device:
        raise ConfigError(f'precision must be "float32" on the CPU, got {precision!r}; "mixed" is for device="cuda"')
    if on_device:
        cuda_als.fit(
            interactions,
            n_factors,
            regularization=regularization,
            regularization_exponent=regularization_exponent,
            alpha=alpha,
            unobserved_weight=unobserved_weight,
            n_iterations=n_iterations,
            solver=solver,
            n_cg_steps=n_cg_steps,
            block_size=block_size,
            precision=precision,
            initial=None if initial is None else factors,
            tolerance=tolerance,
            random_state=random_state,
            callback=without_factors(callback if watch is None else watch),
            compute_loss=compute_loss and callback is not None,
            device=device,
            into=factors,
        )
        found = factors if watch is None else watch.best
        warn_of_collapse("als", found[1], regularization, "lower it, or raise alpha", stacklevel=2)
        return found
    _core.als(
        arrays,
        *factors,
        regularization=_validate.number(regularization, "regularization", minimum=0.0),
        regularization_exponent=_validate.number(regularization_exponent, "regularization_exponent", minimum=0.0),
        alpha=_validate.number(alpha, "alpha", minimum=0.0),
        unobserved_weight=_validate.unobserved_weight(unobserved_weight),
        n_iterations=_integer(n_iterations, "n_iterations"),
        solver=solver,
        n_cg_steps=_integer(n_cg_steps, "n_cg_steps"),
        block_size=_integer(block_size, "block_size"),
        warm_start=initial is not None,
        tolerance=_validate.number(tolerance, "tolerance", minimum=0.0),
        random_state=_validate.random_seed(random_state),
        n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
        callback=callback if watch is None else watch,
        compute_loss=bool(compute_loss) and callback is not None,
        write_factors=watch is not None,
    )
    found = factors if watch is None else watch.best
    warn_of_collapse("als", found[1], regularization, "lower it, or raise alpha", stacklevel=2)
    return found


class _BestSoFar:
    """A callback that keeps the factors of the best iteration and stops when it lies too far back."""

    def __init__(
        self,
        factors: tuple[FloatArray, FloatArray],
        validate: Callable[[FloatArray, FloatArray], float | None],
        patience: int,
        callback: Callable[[int, float], object] | None,
    ) -> None:
        self.factors, self.validate, self.patience, self.callback = factors, validate, patience, callback
        self.best = factors
        self.value = -math.inf
        self.iteration = 0

    def __call__(self, iteration: int, loss: float) -> bool:
        stop = self.callback is not None and bool(self.callback(iteration, loss))
        judged = self.validate(*self.factors)
        if judged is None:
            return stop
        value = _validate.number(judged, "what validate returns")
        if value > self.value:
            self.value, self.iteration = value, iteration
            self.best = (self.factors[0].copy(), self.factors[1].copy())
        return stop or iteration - self.iteration >= self.patience


def _make_factors(
    shape: tuple[int, int], n_factors: int, initial: tuple[npt.ArrayLike, npt.ArrayLike] | None
) -> tuple[FloatArray, FloatArray]:
    """The arrays that training overwrites, holding what it starts from if that is given."""
    factors = (np.empty((shape[0], n_factors), np.float32), np.empty((shape[1], n_factors), np.float32))
    if initial is None:
        return factors
    parts = _validate.two(initial, "initial", "(user_factors, item_factors)")
    for value, to, part in zip(parts, factors, ("user_factors", "item_factors"), strict=True):
        given = _validate.matrix(value, f"initial.{part}")
        if given.shape != to.shape:
            raise ShapeError(f"initial.{part} must have the shape {to.shape}, got {given.shape}")
        if not np.isfinite(given).all():
            raise DataError(f"initial.{part} must hold finite numbers only, got NaN or infinity")
        to[:] = given
    return factors


def _integer(value: int, name: str) -> int:
    return _validate.integer(value, name, minimum=1)
