"""The compiled core.  Only recsys_core.ops imports it.

Arrays must have exactly the type given here and be C-contiguous: recsys_core.ops._validate sees to that.
"""

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
    def n_factors(self) -> int: ...
    def topk(
        self,
        queries: _Floats,
        k: int,
        exclude: _CsrPattern | None,
        allow: _Indices | None,
        deny: _Indices | None,
        n_threads: int,
    ) -> tuple[_Indices, _Floats]: ...

def item_item_topk(
    histories: _CsrArrays,
    weights: _CsrArrays | _Floats,
    k: int,
    exclude: _CsrPattern | None,
    allow: _Indices | None,
    deny: _Indices | None,
    n_threads: int,
) -> tuple[_Indices, _Floats]: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...
def max_threads() -> int: ...
def _set_isa(name: str) -> None: ...
def _raise(kind: str, message: str) -> None: ...
