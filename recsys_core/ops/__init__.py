"""The compiled core on NumPy and SciPy arrays: no model, registry or configuration needed.

Every function takes arrays and returns arrays, releases the GIL, and runs on ``n_threads`` threads (0 means all).  A
result does not depend on the number of threads unless its documentation says so.
"""

from __future__ import annotations

from recsys_core.ops.item_index import ItemIndex, topk
from recsys_core.ops.item_item import item_item_topk
from recsys_core.ops.platform import available_isas, isa, max_threads

__all__ = [
    "ItemIndex",
    "available_isas",
    "isa",
    "item_item_topk",
    "max_threads",
    "topk",
]
