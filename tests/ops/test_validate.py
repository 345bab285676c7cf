"""Settings beyond what the core's types hold are errors that name the setting."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.ops import _validate

DATA = sp.csr_matrix(np.eye(3, dtype=np.float32))
LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.topk([[1.0]], [[1.0]], 2**63), "k must be at most 9223372036854775807, got 9223372036854775808"),
        (lambda: ops.topk([[1.0]], [[1.0]], 1, n_threads=2**70), "n_threads must be at most 9223372036854775807"),
        (lambda: ops.item_item_topk(DATA, DATA, 2**63), "k must be at most"),
        (lambda: ops.item_neighbors(DATA, 2**63), "k must be at most"),
        (lambda: ops.als(DATA, 2**63), "n_factors must be at most"),
        (lambda: ops.als(DATA, 2, n_iterations=2**64), "n_iterations must be at most"),
        (
            lambda: ops.als(DATA, 2, alpha=1e300),
            "alpha must fit float32, whose largest number is 3.40282e+38, got 1e+300",
        ),
        (lambda: ops.bpr(DATA, 2, n_epochs=2**63), "n_epochs must be at most"),
        (lambda: ops.bpr(DATA, 2, learning_rate=1e39), "learning_rate must fit float32"),
        (lambda: ops.slim(DATA, l1=1e39, l2=1.0), "l1 must fit float32"),
        (
            lambda: ops.solve_rows(DATA, np.eye(3), prior=np.eye(3), confidence=(0, -1e39), target=(1, 0)),
            "confidence[1] must fit float32",
        ),
    ],
)
def test_settings_that_the_core_cannot_hold(call, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        call()


def test_the_largest_settings_that_the_core_can_hold():
    assert _validate.integer(2**63 - 1, "k", minimum=1) == 2**63 - 1
    assert _validate.random_seed(np.uint64(2**64 - 1)) == 2**64 - 1
    assert _validate.number(-LARGEST, "alpha") == -LARGEST
    ranking = ops.topk([[1.0]], [[1.0]], 1, n_threads=2**63 - 1)
    assert ranking.indices.tolist() == [[0]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(2), "alpha must be a number, got array([1., 1.])"),
        (True, "alpha must be a number, got True"),
        ("2", "alpha must be a number, got '2'"),
        (None, "alpha must be a number, got None"),
        (10**400, "alpha must fit float32, whose largest number is 3.40282e+38, got a larger one"),
        (float("nan"), "alpha must be finite, got nan"),
        (-np.inf, "alpha must be finite, got -inf"),
        (-0.5, "alpha must be at least 0, got -0.5"),
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        _validate.number(value, "alpha", minimum=0.0)


EYE = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.topk(EYE, EYE, 1, allow=[[0], [1, 2], [0]]),
            ShapeError,
            "allow must be a vector of indices, or CSR with a row for each query, got rows",
        ),
        (
            lambda: ops.topk([[1.0], [1.0, 2.0]], EYE, 1),
            DTypeError,
            "queries must be an array, got list that is none: ",
        ),
        (
            lambda: ops.topk(DATA, EYE, 1),
            DTypeError,
            "queries must be a dense array, got the csr format; convert it with .toarray()",
        ),
        (
            lambda: ops.topk(EYE, EYE, 1, deny=np.array([2**63 + 1], np.uint64)),
            DataError,
            "deny must hold indices, got 9223372036854775809",
        ),
        (lambda: ops.topk(EYE, EYE, 1, metric=None), ConfigError, "metric must be one of dot, cosine, got None"),
        (
            lambda: ops.topk(EYE, EYE, 1, method=EYE),
            ConfigError,
            "method must be one of auto, float32, compact, got array(",
        ),
        (
            lambda: ops.solve_rows(DATA, EYE, prior=EYE, confidence=1.0, target=(1, 0)),
            ShapeError,
            "confidence must be a pair (constant, slope), got float",
        ),
        (
            lambda: ops.solve_rows(DATA, EYE, prior=EYE, confidence=(0, 1), target=None),
            ShapeError,
            "target must be a pair (constant, slope), got NoneType",
        ),
        (
            lambda: ops.als(DATA, 2, initial=3),
            ShapeError,
            "initial must be a pair (user_factors, item_factors), got int",
        ),
        (lambda: ops.als(DATA, 2, validate=3), DTypeError, "validate must be a function, got int"),
        (lambda: ops.als(DATA, 2, callback="print"), DTypeError, "callback must be a function, got str"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()


def test_tensors_that_numpy_cannot_read_are_refused_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(DTypeError, match=r"^queries must be an array, got Tensor that is none: .*requires grad"):
        ops.topk(torch.ones(1, 3, requires_grad=True), EYE, 1)
    with pytest.raises(DTypeError, match=r"^item_factors must be an array, got Tensor that is none: .*BFloat16"):
        ops.topk(EYE, torch.ones(3, 3, dtype=torch.bfloat16), 1)
