"""Arrays on a CUDA device, as they come in and go out, and the place where an operation works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np

from recsys_core.errors import ConfigError
from recsys_core.ops import _validate
from recsys_core.ops.cuda_devices import chosen_device

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = [
    "DeviceArray",
    "Input",
    "device_matrix",
    "device_vector",
    "is_on_device",
    "place_of",
    "stream_of",
    "without_factors",
]

_DLPACK_CUDA = (2, 13)  # device memory, and managed memory


class DeviceArray(Protocol):
    """An array on a CUDA device, as results come."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type: float32 or int64."""

    @property
    def device(self) -> str:
        """Where it is, such as ``"cuda:0"``."""

    def numpy(self) -> npt.NDArray[Any]:
        """Copy it to the host, once it is complete."""

    def __dlpack__(self, stream: int | None = None, **options: object) -> object:
        """Hand it to another library, which waits for its stream."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """Name its device as DLPack does."""


Input: TypeAlias = "npt.ArrayLike | DeviceArray"


def place_of(device: str, stream: int) -> tuple[int, int]:
    """Return the number of the device and the handle of the stream; the CPU is refused."""
    index = chosen_device(device)
    if index is None:
        raise ConfigError('device must be "cuda" or "cuda:<number>", got "cpu"; call the function of recsys_core.ops')
    return index, stream_of(stream)


def stream_of(stream: int) -> int:
    """Return a stream's handle, checked."""
    return _validate.integer(stream, "stream", minimum=0)


def is_on_device(value: object) -> bool:
    """Tell an array on a CUDA device, whosever it is, from one on the host."""
    describe = getattr(value, "__dlpack_device__", None)
    return not isinstance(value, np.ndarray) and describe is not None and int(describe()[0]) in _DLPACK_CUDA


def device_matrix(value: Input, name: str) -> object:
    """Return a matrix that the module takes: one on the device as it is, another as float32 on the host."""
    return value if is_on_device(value) else _validate.matrix(cast("npt.ArrayLike", value), name)


def without_factors(
    callback: Callable[[int, float], object] | None,
) -> Callable[[int, float, object], object] | None:
    """Return a callback as the module calls it, which hands over the factors too."""
    return None if callback is None else lambda step, loss, _: callback(step, loss)


def device_vector(value: Input, name: str) -> object:
    """Return a vector that the module takes, likewise."""
    return value if is_on_device(value) else _validate.vector(cast("npt.ArrayLike", value), name)
