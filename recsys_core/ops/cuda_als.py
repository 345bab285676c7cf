"""ALS on a CUDA device: :func:`recsys_core.ops.cuda.als`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from recsys_core.ops import _validate
from recsys_core.ops.cuda_arrays import device_matrix, place_of, without_factors
from recsys_core.ops.cuda_devices import cuda_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.ops.cuda_arrays import DeviceArray, Input
    from recsys_core.types import CSR, FloatArray

__all__ = ["als", "fit"]

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
    initial: tuple[Input, Input] | None = None,
    tolerance: float = 0.0,
    random_state: int = 0,
    callback: Callable[[int, float], object] | None = None,
    compute_loss: bool = True,
    device: str = "cuda",
    stream: int = 0,
) -> tuple[DeviceArray, DeviceArray]:
    """Factorize implicit feedback by alternating least squares on a device.

    The objective, the start and the iteration are those of :func:`recsys_core.ops.als`; sums run in another order, so
    that results agree within rounding.

    Parameters
    ----------
    interactions
        CSR on the host, shape (n_users, n_items), float32, finite and not negative.
    n_factors
        Length f of the vectors, at least 1; at most 512 with "cg", and with "cholesky" what fits a block's shared
        memory (147 on Turing, 187 on later consumer cards, 303 on Hopper), which with "subspace" holds for the blocks.
    regularization
        lambda, at least 0.
    regularization_exponent
        nu, at least 0, as for :func:`recsys_core.ops.als`.
    alpha
        Growth of confidence with the stored value, at least 0.
    unobserved_weight
        Confidence of the cells that are not stored, in [0, 1].
    n_iterations
        Number of iterations, at least 1.
    solver
        "cholesky", "cg" or "subspace", as for :func:`recsys_core.ops.als`, or "auto", which is "cholesky" wherever it
        fits.
    n_cg_steps
        Steps of "cg", at least 1.
    block_size
        Coordinates a block of "subspace", at least 1.
    precision
        "mixed" lets "cholesky" sum its matrices on tensor cores (tf32) and then corrects each row by residuals in
        float32, or solves it again where that does not converge: the result is as accurate as "float32", which sums
        in float32 throughout.  The other solvers are not changed by it.
    initial
        What to go on from: the result of a fit, or other ``(user_factors, item_factors)`` of its shapes, on the host or
        on the device; None starts at random.
    tolerance
        Stop after an iteration that lowers the objective by less than this share of it; 0 never stops.
    random_state
        Seed, in [0, 2**64).
    callback
        Called as ``callback(iteration, loss)`` after each iteration; a true return value stops.
    compute_loss
        Whether to compute the objective for `callback`, which else gets NaN.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.

    Returns
    -------
    user_factors : DeviceArray
        float32, shape (n_users, n_factors).
    item_factors : DeviceArray
        float32, shape (n_items, n_factors).

    Raises
    ------
    DeviceError
        The device cannot be used, CUDA fails, or the factors do not fit its memory; ``ops.als(device="cuda")`` keeps
        them on the host then.
    DataError, DTypeError, ShapeError, ConfigError
        As for :func:`recsys_core.ops.als`; ConfigError also where the factors are too wide.

    Notes
    -----
    On one device with as much memory free, the result has the same bits in every run.  Interactions stay on the device
    if they fit beside the factors, else they go through it in batches of rows.

    `precision` is "float32" unless asked otherwise because the gain of tensor cores has not been measured.
    """
    trained = fit(
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
        initial=initial,
        tolerance=tolerance,
        random_state=random_state,
        callback=without_factors(callback),
        compute_loss=compute_loss,
        device=device,
        stream=stream,
    )
    return cast("tuple[DeviceArray, DeviceArray]", trained)


def fit(
    interactions: CSR,
    n_factors: int,
    *,
    regularization: float,
    regularization_exponent: float,
    alpha: float,
    unobserved_weight: float,
    n_iterations: int,
    solver: str,
    n_cg_steps: int,
    block_size: int,
    initial: tuple[Input, Input] | None,
    tolerance: float,
    random_state: int,
    callback: Callable[[int, float, Any], object] | None,
    compute_loss: bool,
    precision: str,
    device: str,
    stream: int = 0,
    into: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[DeviceArray, DeviceArray] | None:
    """Check the settings and train; `callback` is given the factors too.

    With `into`, arrays on the host, the factors are written there, up to date at each call of `callback`, and need not
    fit the device; `initial` is then None or `into` itself.
    """
    _validate.one_of(solver, "solver", _SOLVERS)
    _validate.one_of(precision, "precision", ("float32", "mixed"))
    weight = _validate.unobserved_weight(unobserved_weight)
    begin = None
    if initial is not None:
        users, items = _validate.two(initial, "initial", "(user_factors, item_factors)")
        begin = (device_matrix(users, "initial.user_factors"), device_matrix(items, "initial.item_factors"))
    place = place_of(device, stream)
    return cast(
        "tuple[DeviceArray, DeviceArray] | None",
        cuda_module().als(
            _validate.unique_csr_arrays(interactions, "interactions"),
            _validate.integer(n_factors, "n_factors", minimum=1),
            regularization=_validate.number(regularization, "regularization", minimum=0.0),
            regularization_exponent=_validate.number(regularization_exponent, "regularization_exponent", minimum=0.0),
            alpha=_validate.number(alpha, "alpha", minimum=0.0),
            unobserved_weight=weight,
            n_iterations=_validate.integer(n_iterations, "n_iterations", minimum=1),
            solver=solver,
            n_cg_steps=_validate.integer(n_cg_steps, "n_cg_steps", minimum=1),
            block_size=_validate.integer(block_size, "block_size", minimum=1),
            initial=begin,
            tolerance=_validate.number(tolerance, "tolerance", minimum=0.0),
            random_state=_validate.random_seed(random_state),
            callback=callback,
            compute_loss=bool(compute_loss),
            mixed_precision=precision == "mixed",
            into=into,
            place=place,
        ),
    )
