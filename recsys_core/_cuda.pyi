"""The compiled operations on a CUDA device, where they were built; see :mod:`recsys_core.ops.cuda`."""

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from recsys_core.types import FloatArray, Index32Array, IndexArray

_Csr = tuple[IndexArray, Index32Array, FloatArray, int]
_Pattern = tuple[IndexArray, Index32Array, int]
_Place = tuple[int, int]  # device, stream

class DeviceInfo(TypedDict):
    name: str
    capability: tuple[int, int]
    memory: int

class CudaState(TypedDict):
    driver_version: int
    runtime_version: int
    architectures: str
    error: str
    devices: list[DeviceInfo]

class DeviceArray:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def device(self) -> str: ...
    def numpy(self) -> npt.NDArray[Any]: ...
    def __dlpack__(self, stream: int | None = None, **options: object) -> object: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class ItemIndex:
    def __init__(self, item_factors: object, item_bias: object | None, metric: str, place: _Place) -> None: ...
    @property
    def n_items(self) -> int: ...
    @property
    def n_factors(self) -> int: ...
    def topk(
        self,
        queries: object,
        k: int,
        exclude: _Pattern | None,
        allow: IndexArray | _Pattern | None,
        deny: IndexArray | None,
        method: str,
        stream: int,
    ) -> tuple[DeviceArray, DeviceArray]: ...

def status() -> CudaState: ...
def als(
    interactions: _Csr,
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
    start: tuple[object, object] | None,
    tolerance: float,
    random_state: int,
    callback: Callable[[int, float, Any], object] | None,
    compute_loss: bool,
    mixed_precision: bool,
    into: tuple[FloatArray, FloatArray] | None,
    place: _Place,
) -> tuple[DeviceArray, DeviceArray] | None: ...
def sgd(
    interactions: _Csr,
    n_factors: int,
    *,
    steps: dict[str, Any],
    user_features: _Csr | None,
    item_features: _Csr | None,
    initial: tuple[object, ...] | None,
    callback: Callable[[int, float, Any], object] | None,
    wants_factors: bool,
    place: _Place,
) -> tuple[DeviceArray | None, ...]: ...
def solve_rows(
    histories: _Csr,
    item_factors: object,
    *,
    prior: object | None,
    gram_weight: float,
    gram_ridge: float,
    ridge: FloatArray | None,
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: object | None,
    place: _Place,
) -> DeviceArray: ...
