from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import _core, errors, ops

ITEMS = np.ones((4, 3), dtype=np.float32)
QUERIES = np.ones((2, 3), dtype=np.float32)


def with_value(array: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


def test_every_error_of_the_core_arrives_as_its_python_class() -> None:
    for kind in ("ConfigError", "DataError", "ShapeError", "DTypeError", "DeviceError", "RecsysError"):
        with pytest.raises(errors.RecsysError, match=r"^what went wrong$") as caught:
            _core._raise(kind, "what went wrong")
        assert type(caught.value) is getattr(errors, kind)


CASES = [
    ({"queries": np.ones((2, 4))}, errors.ShapeError, "queries must have 3 columns, got shape (2, 4)"),
    (
        {"queries": np.ones(3)},
        errors.ShapeError,
        "queries must be a matrix, got 1 dimension(s); pass one row as array[None, :]",
    ),
    ({"item_factors": np.ones((4, 3, 1))}, errors.ShapeError, "item_factors must be a matrix, got 3 dimension(s)"),
    ({"queries": [["a", "b", "c"]]}, errors.DTypeError, "queries must hold real numbers, got <U1"),
    ({"queries": 1j * QUERIES}, errors.DTypeError, "queries must hold real numbers, got complex64"),
    ({"queries": sp.csr_array(QUERIES)}, errors.DTypeError, "queries must be a dense array"),
    (
        {"queries": with_value(QUERIES, (1, 2), np.nan)},
        errors.DataError,
        "queries must hold finite numbers only, got NaN at row 1, column 2; clean or drop such values first",
    ),
    (
        {"item_factors": with_value(ITEMS, (3, 0), -np.inf)},
        errors.DataError,
        "item_factors must hold finite numbers only, got -inf at row 3, column 0",
    ),
    (
        {"queries": with_value(QUERIES.astype(np.float64), (0, 1), 1e60)},
        errors.DataError,
        "queries must hold finite numbers only, got inf at row 0, column 1",
    ),
    (
        {"item_bias": [0, 0, np.nan, 0]},
        errors.DataError,
        "item_bias must hold finite numbers only, got NaN at position 2",
    ),
    ({"item_bias": [1, 2]}, errors.ShapeError, "item_bias must have 4 entries, got 2"),
    ({"item_bias": [[1, 2, 3, 4]]}, errors.ShapeError, "item_bias must be a vector, got shape (1, 4)"),
    ({"metric": "euclid"}, errors.ConfigError, "metric must be one of dot, cosine, got 'euclid'"),
    ({"method": "int8"}, errors.ConfigError, "method must be one of auto, float32, compact, got 'int8'"),
    ({"k": 0}, errors.ConfigError, "k must be at least 1, got 0"),
    ({"k": 2.0}, errors.ConfigError, "k must be an integer, got 2.0"),
    ({"k": True}, errors.ConfigError, "k must be an integer, got True"),
    ({"n_threads": -1}, errors.ConfigError, "n_threads must be at least 0, got -1"),
    ({"allow": [0, 4]}, errors.DataError, "allow must hold item indices in [0, 4), got 4 at position 1"),
    ({"deny": [-1]}, errors.DataError, "deny must hold item indices in [0, 4), got -1 at position 0"),
    ({"allow": [0.5]}, errors.DTypeError, "allow must hold integers, got float64"),
    ({"deny": [True, False]}, errors.DTypeError, "deny must hold indices, got a boolean mask; pass numpy.flatnonzero"),
    ({"allow": [[0]]}, errors.ShapeError, "allow must be a vector of indices, or CSR with a row for each query"),
    ({"exclude": sp.csr_array((2, 5))}, errors.ShapeError, "exclude must have shape (2, 4), one row a query"),
    ({"exclude": sp.csr_array((3, 4))}, errors.ShapeError, "exclude must have shape (2, 4), one row a query"),
    (
        {"exclude": sp.coo_array((2, 4))},
        errors.DTypeError,
        "exclude must be a scipy.sparse CSR matrix, got the coo format; convert it with .tocsr()",
    ),
    ({"exclude": np.ones((2, 4))}, errors.DTypeError, "exclude must be a scipy.sparse CSR matrix, got ndarray"),
]


@pytest.mark.parametrize(("change", "error", "message"), CASES, ids=[message[:40] for _, _, message in CASES])
def test_messages_name_the_argument_and_the_remedy(change: dict, error: type, message: str) -> None:
    arguments = {"queries": QUERIES, "item_factors": ITEMS, "k": 2, **change}
    with pytest.raises(error, match="^" + re.escape(message)) as caught:
        ops.topk(**arguments)
    assert type(caught.value) is error


def test_broken_sparse_structure_is_refused_before_it_is_read() -> None:
    def broken(indptr: list[int], indices: list[int], dtype: type = np.int32) -> sp.csr_array:
        matrix = sp.csr_array(np.ones((2, 4), dtype=np.float32))
        matrix.indptr, matrix.indices = np.array(indptr), np.array(indices, dtype=dtype)
        return matrix

    cases = [
        (broken([0, 1, 2], [0, 4]), "exclude must have column indices in [0, 4), got 4 in row 1"),
        (broken([0, 1, 2], [-1, 0]), "exclude must have column indices in [0, 4), got -1 in row 0"),
        (broken([0, 1, 2], [0, 2**32], np.int64), "exclude must have column indices in [0, 4), got 0 to 4294967296"),
        (broken([0, 2, 1], [0]), "exclude.indptr must never fall, but does after row 1"),
        (broken([1, 1, 1], [0]), "exclude.indptr must start with 0"),
        (broken([0, 1, 9], [0, 1]), "exclude.indptr must end at the number of stored entries, 2, got 9"),
        (broken([0, 2**40, 2**40], [0, 1]), "exclude.indptr must end at the number of stored entries, 2, got"),
    ]
    for exclude, message in cases:
        with pytest.raises(errors.DataError, match="^" + re.escape(message)):
            ops.topk(QUERIES, ITEMS, 2, exclude=exclude)


def test_the_core_itself_refuses_what_it_cannot_read() -> None:
    def call(queries: np.ndarray, **change: object) -> object:
        arguments = {"exclude": None, "allow": None, "deny": None, "n_threads": 0, "method": "float32", **change}
        return _core.ItemIndex(ITEMS, None, "dot").topk(queries, 1, **arguments)

    with pytest.raises(errors.DTypeError, match=r"^queries must be an array of float32, got float64"):
        call(QUERIES.astype(np.float64))
    with pytest.raises(errors.DTypeError, match=r"^queries must be C-contiguous"):
        call(np.asfortranarray(QUERIES))
    with pytest.raises(errors.ShapeError, match=r"^queries must have 2 dimension\(s\), got 1"):
        call(QUERIES[0])
    with pytest.raises(errors.ShapeError, match=r"^queries must have one column a factor, 3, got 2"):
        call(np.ones((2, 2), dtype=np.float32))
    with pytest.raises(errors.ConfigError, match=r"^n_threads must be 0"):
        call(QUERIES, n_threads=-1)
    with pytest.raises(errors.DTypeError, match=r"^allow must be an array of int64, got int32"):
        call(QUERIES, allow=np.zeros(1, dtype=np.int32))
