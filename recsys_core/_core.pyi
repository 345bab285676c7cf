"""The compiled core.  Only recsys_core.ops imports it.

Arrays must have exactly the type given here and be C-contiguous: recsys_core.ops._validate sees to that.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.int64]
_CsrArrays = tuple[_Indices, npt.NDArray[np.int32], _Floats, int]  # indptr, indices, data, n_columns
_CsrPattern = tuple[_Indices, npt.NDArray[np.int32], int]  # indptr, indices, n_columns

class ItemIndex:
    def __init__(self, item_factors: _Floats, item_bias: _Floats | None, metric: str) -> None: ...
    @property
    def n_items(self) -> int: ...
    @property
    def n_removed(self) -> int: ...
    @property
    def n_factors(self) -> int: ...
    @property
    def metric(self) -> str: ...
    def topk(
        self,
        queries: _Floats,
        k: int,
        exclude: _CsrPattern | None,
        allow: _CsrPattern | _Indices | None,
        deny: _Indices | None,
        n_threads: int,
        method: str,
    ) -> tuple[_Indices, _Floats]: ...
    def update(self, rows: _Indices, item_factors: _Floats, item_bias: _Floats | None) -> None: ...
    def append(self, item_factors: _Floats, item_bias: _Floats | None) -> int: ...
    def remove(self, rows: _Indices) -> None: ...
    def arrays(self, compact: bool) -> dict[str, list[npt.NDArray[Any]]]: ...
    @staticmethod
    def from_arrays(n_items: int, n_factors: int, metric: str, arrays: dict[str, npt.NDArray[Any]]) -> ItemIndex: ...
    def without_removed(self) -> tuple[ItemIndex, _Indices]: ...

def item_item_topk(
    histories: _CsrArrays,
    weights: _CsrArrays | _Floats,
    k: int,
    exclude: _CsrPattern | None,
    allow: _CsrPattern | _Indices | None,
    deny: _Indices | None,
    n_threads: int,
) -> tuple[_Indices, _Floats]: ...
def als(
    interactions: _CsrArrays,
    user_factors: _Floats,
    item_factors: _Floats,
    *,
    regularization: float,
    regularization_exponent: float,
    alpha: float,
    unobserved_weight: float,
    n_iterations: int,
    solver: str,
    n_cg_steps: int,
    block_size: int,
    warm_start: bool,
    tolerance: float,
    random_state: int,
    n_threads: int,
    callback: Callable[[int, float], object] | None,
    compute_loss: bool,
    write_factors: bool,
) -> None: ...
def solve_rows(
    histories: _CsrArrays,
    item_factors: _Floats,
    *,
    prior: _Floats,
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: _Floats | None,
    ridge: _Floats | None,
    non_negative: bool,
    n_threads: int,
) -> _Floats: ...
def gram(factors: _Floats, *, n_threads: int) -> _Floats: ...
def sgd(
    interactions: _CsrArrays,
    user_factors: _Floats,
    item_factors: _Floats,
    user_bias: _Floats,
    item_bias: _Floats,
    user_features: _CsrArrays | None,
    user_feature_factors: _Floats,
    item_features: _CsrArrays | None,
    item_feature_factors: _Floats,
    item_feature_bias: _Floats,
    *,
    steps: dict[str, Any],
    n_threads: int,
    deterministic: bool,
    warm_start: bool,
    wants_factors: bool,
    callback: Callable[[int, float], object] | None,
) -> None: ...  # trains the factors and biases in place
def slim(
    interactions: _CsrArrays,
    *,
    l1: float,
    l2: float,
    n_iterations: int,
    tolerance: float,
    positive_only: bool,
    n_threads: int,
    callback: Callable[[int, int], object] | None,
) -> tuple[_CsrArrays, int]: ...  # the weights, and how many columns have not settled
def row_neighbors(vectors: _CsrArrays, k: int, *, n_threads: int) -> _CsrArrays: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...
def max_threads() -> int: ...
def _set_isa(name: str) -> None: ...
def _raise(kind: str, message: str) -> None: ...
