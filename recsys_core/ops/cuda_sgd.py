"""BPR and WARP on a CUDA device: :func:`recsys_core.ops.cuda.bpr` and :func:`recsys_core.ops.cuda.warp`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from recsys_core.errors import ConfigError
from recsys_core.ops import _validate
from recsys_core.ops._collapse import warn_of_collapse
from recsys_core.ops.cuda_arrays import device_matrix, device_vector, place_of, without_factors
from recsys_core.ops.cuda_devices import cuda_module
from recsys_core.ops.sgd import Settings, SgdFactors, SgdOptions, Watch, parts_of, shapes_of, trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.types import CSR

__all__ = ["bpr", "train_to_host", "warp"]

# In the module's order.
_PARTS = (
    "user_factors",
    "item_factors",
    "item_bias",
    "user_feature_factors",
    "item_feature_factors",
    "item_feature_bias",
)


def bpr(
    interactions: CSR, n_factors: int = 64, *, device: str = "cuda", stream: int = 0, **options: Unpack[SgdOptions]
) -> SgdFactors:
    """Factorize implicit feedback so that each user's items score above the others, on a device.

    The objective, the steps and the options are those of :func:`recsys_core.ops.bpr`.

    Parameters
    ----------
    interactions
        CSR on the host, shape (n_users, n_items), float32, finite and not negative.  Only the structure counts.
    n_factors
        Length f of the vectors, 1 to 512.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.
    **options
        Of the training: see :class:`recsys_core.ops.SgdOptions`.  `validate` is not there; `n_threads` and
        `deterministic` are not used.  `initial` may hold arrays on the device.

    Returns
    -------
    SgdFactors
        Of :class:`DeviceArray`; unpacks into ``user_factors, item_factors, item_bias``.

    Raises
    ------
    DeviceError
        The device cannot be used, CUDA fails, or what is learned does not fit its memory.
    DataError, DTypeError, ShapeError, ConfigError
        As for :func:`recsys_core.ops.bpr`; ConfigError also for `validate`.

    Notes
    -----
    A warp takes a sample.  Steps are added atomically, so that none is lost, but warps read factors that others are
    changing: results differ in detail from run to run.  The items j come from all that the user has no entry for.
    Interactions that do not fit the device go through it in blocks of users, in random order.
    """
    return _train(interactions, n_factors, "bpr", 1, device, stream, Settings.of(options, "bpr"))


def warp(
    interactions: CSR,
    n_factors: int = 64,
    *,
    max_trials: int = 10,
    device: str = "cuda",
    stream: int = 0,
    **options: Unpack[SgdOptions],
) -> SgdFactors:
    """Factorize implicit feedback so that each user's items come first, minding the top of the list most, on a device.

    The objective, the steps and the options are those of :func:`recsys_core.ops.warp`, and all else is as for
    :func:`bpr`.

    Parameters
    ----------
    interactions, n_factors, device, stream, **options
        As for :func:`bpr`.
    max_trials
        Largest number of draws for an entry, at least 1.

    Returns
    -------
    SgdFactors
        As of :func:`bpr`.

    Raises
    ------
    DeviceError, DataError, DTypeError, ShapeError, ConfigError
        As :func:`bpr` does.
    """
    settings = Settings.of(options, "warp")
    return _train(interactions, n_factors, "warp", trials(max_trials), device, stream, settings)


def train_to_host(
    interactions: CSR,
    n_factors: int,
    objective: Literal["bpr", "warp"],
    n_negatives: int,
    device: str,
    options: SgdOptions,
) -> SgdFactors:
    """Train on a device and return arrays on the host, those of the best epoch where there is something to judge by."""
    settings = Settings.of(options, objective)
    watch = Watch.of(settings)
    if settings.validate is None:
        found = _on_host(_train(interactions, n_factors, objective, n_negatives, device, 0, settings))
    else:

        def look(epoch: int, loss: float, parts: tuple[object, ...]) -> bool:
            return watch(epoch, loss, _on_host(_named(parts)))

        unjudged = replace(settings, validate=None)
        last = _on_host(_train(interactions, n_factors, objective, n_negatives, device, 0, unjudged, look))
        found = watch.best_or(last)
    warn_of_collapse(objective, found.item_factors, settings.regularization, "lower it", stacklevel=3)
    return found


def _train(
    interactions: CSR,
    n_factors: int,
    objective: Literal["bpr", "warp"],
    n_negatives: int,
    device: str,
    stream: int,
    settings: Settings,
    look: Callable[[int, float, tuple[object, ...]], object] | None = None,
) -> SgdFactors:
    """Train; `look`, in place of the callback, is given the factors on the device too."""
    if settings.validate is not None:
        raise ConfigError(
            "validate must be left out of ops.cuda, whose factors stay on the device; call the function of ops"
        )
    steps = settings.of_steps(objective, n_negatives)
    arrays = _validate.unique_csr_arrays(interactions, "interactions")
    n_factors = _validate.integer(n_factors, "n_factors", minimum=1)
    features = settings.of_features()
    shapes = shapes_of(len(arrays[0]) - 1, arrays[3], n_factors, features)
    place = place_of(device, stream)
    return _named(
        cuda_module().sgd(
            arrays,
            n_factors,
            steps=steps,
            initial=None if settings.initial is None else _start(settings.initial, shapes),
            callback=without_factors(settings.callback) if look is None else look,
            wants_factors=look is not None,
            place=place,
            **features,
        )
    )


def _named(parts: tuple[Any, ...]) -> SgdFactors:
    return SgdFactors(**dict(zip(_PARTS, parts, strict=True)))


def _on_host(factors: SgdFactors) -> SgdFactors:
    parts: dict[str, Any] = {name: getattr(factors, name) for name in _PARTS}
    for name, part in parts.items():
        parts[name] = None if part is None else part.numpy()
    return SgdFactors(**parts)


def _start(initial: Any, shapes: dict[str, tuple[int, ...] | None]) -> tuple[object, ...]:
    given = parts_of(initial, shapes)
    parts = []
    for name in _PARTS:
        part, shape = given[name], shapes[name]
        if shape is not None:
            part = (device_matrix if len(shape) == 2 else device_vector)(part, f"initial.{name}")
        if isinstance(part, np.ndarray) and not np.isfinite(part).all():
            raise ConfigError(f"initial.{name} must be finite, got NaN or infinity")
        parts.append(part)
    return tuple(parts)
