"""BPR and WARP on a CUDA device: :func:`recsys_core.ops.cuda.bpr` and :func:`recsys_core.ops.cuda.warp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, Unpack, cast

import numpy as np

from recsys_core.errors import ConfigError, DTypeError
from recsys_core.ops import _validate
from recsys_core.ops.cuda_arrays import device_matrix, device_vector, place_of
from recsys_core.ops.cuda_devices import cuda_module
from recsys_core.ops.sgd import SgdFactors, SgdOptions, Watch, trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.ops.cuda_arrays import DeviceArray
    from recsys_core.types import CSR

__all__ = ["bpr", "train_to_host", "warp"]

_Factors: TypeAlias = "tuple[DeviceArray, DeviceArray, DeviceArray]"
_LACKING = ("popularity_power", "user_features", "item_features")


def bpr(
    interactions: CSR, n_factors: int = 64, *, device: str = "cuda", stream: int = 0, **options: Unpack[SgdOptions]
) -> _Factors:
    """Factorize implicit feedback so that each user's items score above the others, on a device.

    The objective, the steps and the options are those of :func:`recsys_core.ops.bpr`; the items j are drawn from all
    that the user has no entry for.

    Parameters
    ----------
    interactions
        CSR on the host, shape (n_users, n_items).  Only the structure counts.
    n_factors
        Length f of the vectors, 1 to 512.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.
    **options
        Of the training: see :class:`recsys_core.ops.SgdOptions`.  Features, `popularity_power` and `validate` are not
        there; `n_threads` and `deterministic` are not used.

    Returns
    -------
    user_factors : DeviceArray
        float32, shape (n_users, n_factors).
    item_factors : DeviceArray
        float32, shape (n_items, n_factors).
    item_bias : DeviceArray
        float32, shape (n_items,).

    Raises
    ------
    DeviceError
        The device cannot be used, or CUDA fails.
    DataError, DTypeError, ShapeError, ConfigError
        As for :func:`recsys_core.ops.bpr`; ConfigError also for an option that a device lacks.

    Notes
    -----
    A warp takes a sample.  Steps are added atomically, so that none is lost, but warps read factors that others are
    changing: results differ in detail from run to run.
    """
    return _train(interactions, n_factors, "bpr", 1, device, stream, options)


def warp(
    interactions: CSR,
    n_factors: int = 64,
    *,
    max_trials: int = 10,
    device: str = "cuda",
    stream: int = 0,
    **options: Unpack[SgdOptions],
) -> _Factors:
    """Factorize implicit feedback so that each user's items come first, minding the top of the list most, on a device.

    The objective, the steps and the options are those of :func:`recsys_core.ops.warp`.

    Parameters
    ----------
    interactions
        CSR on the host, shape (n_users, n_items).  Only the structure counts.
    n_factors
        Length f of the vectors, 1 to 512.
    max_trials
        Largest number of draws for an entry, at least 1.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.
    **options
        As for :func:`bpr`.

    Returns
    -------
    user_factors : DeviceArray
        float32, shape (n_users, n_factors).
    item_factors : DeviceArray
        float32, shape (n_items, n_factors).
    item_bias : DeviceArray
        float32, shape (n_items,).

    Raises
    ------
    DeviceError
        The device cannot be used, or CUDA fails.
    DataError, DTypeError, ShapeError, ConfigError
        As for :func:`recsys_core.ops.warp`; ConfigError also for an option that a device lacks.

    Notes
    -----
    As for :func:`bpr`.
    """
    return _train(interactions, n_factors, "warp", trials(max_trials), device, stream, options)


def train_to_host(
    interactions: CSR,
    n_factors: int,
    objective: Literal["bpr", "warp"],
    n_negatives: int,
    device: str,
    options: SgdOptions,
) -> SgdFactors:
    """Train on a device and return arrays on the host, those of the best epoch where there is something to judge by."""
    validate = options.pop("validate", None)
    patience = _validate.integer(options.pop("patience", 5), "patience", minimum=1)
    if validate is None:
        trained = _train(interactions, n_factors, objective, n_negatives, device, 0, options)
        return SgdFactors(*(part.numpy() for part in trained))
    none_yet = np.empty((0, 0), dtype=np.float32)
    watch = Watch(SgdFactors(none_yet, none_yet, none_yet), options.pop("callback", None), validate, patience)

    def look(epoch: int, loss: float, factors: _Factors) -> bool:
        present = SgdFactors(*(part.numpy() for part in factors))
        if watch.best is watch.factors:  # nothing was judged yet
            watch.best = present
        watch.factors = present
        return watch(epoch, loss)

    _train(interactions, n_factors, objective, n_negatives, device, 0, options, look)
    return watch.best


def _train(
    interactions: CSR,
    n_factors: int,
    objective: Literal["bpr", "warp"],
    n_negatives: int,
    device: str,
    stream: int,
    options: SgdOptions,
    look: Callable[[int, float, _Factors], object] | None = None,
) -> _Factors:
    for name in (*_LACKING, "validate"):
        value = options.get(name)
        if value is not None and not (name == "popularity_power" and value == 0):
            raise ConfigError(f"{name} must be left out on a device, which lacks it; train on the CPU with it")
    unknown = options.keys() - SgdOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"{objective}() got an unexpected keyword argument {min(unknown)!r}")
    callback = options.get("callback")
    rate = _validate.positive(options.get("learning_rate", 0.05), "learning_rate")
    place = place_of(device, stream)
    return cast(
        "_Factors",
        cuda_module().sgd(
            _validate.unique_csr_arrays(interactions, "interactions"),
            _validate.integer(n_factors, "n_factors", minimum=1),
            objective=objective,
            adagrad=_validate.one_of(options.get("optimizer", "adagrad"), "optimizer", ("adagrad", "sgd")) == "adagrad",
            linear_decay=_validate.one_of(options.get("schedule", "linear"), "schedule", ("linear", "constant"))
            == "linear",
            learning_rate=rate,
            regularization=_validate.number(options.get("regularization", 0.001), "regularization", minimum=0.0),
            n_epochs=_validate.integer(options.get("n_epochs", 50), "n_epochs", minimum=1),
            n_negatives=n_negatives,
            reject_positives=bool(options.get("reject_positives", True)),
            random_state=_validate.random_seed(options.get("random_state", 0)),
            initial=_start(options.get("initial")),
            callback=look if callback is None else lambda epoch, loss, _: callback(epoch, loss),
            place=place,
        ),
    )


def _start(initial: SgdFactors | None) -> tuple[object, object, object] | None:
    if initial is None:
        return None
    if not isinstance(initial, SgdFactors):
        raise DTypeError(f"initial must be an SgdFactors, got {type(initial).__name__}; build one of its arrays")
    parts = (
        device_matrix(initial.user_factors, "initial.user_factors"),
        device_matrix(initial.item_factors, "initial.item_factors"),
        device_vector(initial.item_bias, "initial.item_bias"),
    )
    for name, part in zip(("user_factors", "item_factors", "item_bias"), parts, strict=True):
        if isinstance(part, np.ndarray) and not np.isfinite(part).all():
            raise ConfigError(f"initial.{name} must be finite, got NaN or infinity")
    return parts
