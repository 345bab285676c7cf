"""The compiled core on NumPy and SciPy arrays: no model, registry or configuration needed.

Every function takes arrays and returns arrays, releases the GIL, and runs on ``n_threads`` threads (0 means all).  A
result does not depend on the number of threads unless its documentation says so.
"""

from __future__ import annotations

from recsys_core.ops import cuda
from recsys_core.ops.als import als
from recsys_core.ops.bpr import bpr
from recsys_core.ops.cuda_devices import CudaDevice, CudaState, cuda_state
from recsys_core.ops.explicit_mf import explicit_mf
from recsys_core.ops.fold_in import fold_in, solve_rows
from recsys_core.ops.item_index import ItemIndex, topk
from recsys_core.ops.item_item import item_item_topk
from recsys_core.ops.logistic_mf import logistic_mf
from recsys_core.ops.neighbors import item_neighbors
from recsys_core.ops.platform import available_isas, isa, max_threads
from recsys_core.ops.sgd import SgdFactors, SgdOptions
from recsys_core.ops.slim import slim
from recsys_core.ops.warp import warp

__all__ = [
    "CudaDevice",
    "CudaState",
    "ItemIndex",
    "SgdFactors",
    "SgdOptions",
    "als",
    "available_isas",
    "bpr",
    "cuda",
    "cuda_state",
    "explicit_mf",
    "fold_in",
    "isa",
    "item_item_topk",
    "item_neighbors",
    "logistic_mf",
    "max_threads",
    "slim",
    "solve_rows",
    "topk",
    "warp",
]
