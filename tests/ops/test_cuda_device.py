"""Top-k, and arrays, on a CUDA device, against the CPU.  Skipped, with the reason, where there is none.

`make test-cuda` runs the same cases over an emulation of a device, with smaller sizes.  The kernels by themselves are
tested by csrc/tests/cuda_*_test.cpp.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from device_arrays import EMULATED, consumed, interactions, on_device

import recsys_core
from recsys_core import _core, ops
from recsys_core.errors import ConfigError, DataError, DeviceError, DTypeError, ShapeError

PROBLEM = ops.cuda_state().problem

# Items enough for several waves of the scan; an emulated device is some thousand times slower.
N_ITEMS = 4_000 if EMULATED else 70_000

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=f"no CUDA: {PROBLEM}")]


@pytest.fixture
def fused() -> None:
    """Scores have the same bits where the CPU fuses multiply and add."""
    if ops.isa() == "baseline":
        pytest.skip("the baseline level does not fuse multiply and add")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def skewed(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return (rng.normal(size=(n, d)) * np.exp(0.5 * rng.normal(size=(n, 1)))).astype(np.float32)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("method", ["float32", "compact", "auto"])
@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("d", [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 128, 200])
def test_topk_gives_the_bits_of_the_cpu(rng: np.random.Generator, d: int, metric: str, method: str) -> None:
    items, queries = skewed(rng, N_ITEMS, d), rng.normal(size=(9, d)).astype(np.float32)
    bias = rng.normal(size=N_ITEMS).astype(np.float32)
    exclude = sp.random(9, N_ITEMS, density=0.01, format="csr", random_state=1)
    deny = rng.choice(N_ITEMS, 500, replace=False)
    want = ops.topk(queries, items, 50, item_bias=bias, metric=metric, exclude=exclude, deny=deny, method="float32")
    index = ops.cuda.ItemIndex(items, bias, metric)
    indices, scores = index.topk(queries, 50, exclude=exclude, deny=deny, method=method)
    np.testing.assert_array_equal(indices.numpy(), want.indices)
    np.testing.assert_array_equal(scores.numpy(), want.scores)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("n_queries", [1, 5, 127, 128, 129, 1000] if not EMULATED else [1, 129])
@pytest.mark.parametrize("k", [1, 100, 3000] if not EMULATED else [1, 100])
def test_topk_at_every_size_of_batch(rng: np.random.Generator, n_queries: int, k: int) -> None:
    items, queries = skewed(rng, N_ITEMS, 48), rng.normal(size=(n_queries, 48)).astype(np.float32)
    want = ops.topk(queries, items, k)
    got = ops.topk(queries, items, k, device="cuda")
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)


@pytest.mark.usefixtures("fused")
def test_items_allowed_for_each_query(rng: np.random.Generator) -> None:
    items, queries = skewed(rng, N_ITEMS, 16), rng.normal(size=(7, 16)).astype(np.float32)
    allow = sp.random(7, N_ITEMS, density=0.03, format="csr", rng=np.random.default_rng(2))
    allow = sp.vstack([allow[:3], sp.csr_matrix((1, N_ITEMS)), allow[4:]], format="csr")
    exclude = sp.random(7, N_ITEMS, density=0.3, format="csr", rng=np.random.default_rng(3))
    want = ops.topk(queries, items, 20, allow=allow, exclude=exclude)
    got = ops.topk(queries, items, 20, allow=allow, exclude=exclude, device="cuda")
    assert (want.indices[3] == -1).all()
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)


@pytest.mark.usefixtures("fused")
def test_ties_and_equal_items(rng: np.random.Generator) -> None:
    items = rng.integers(-1, 2, size=(N_ITEMS, 4)).astype(np.float32)
    queries = rng.integers(-2, 3, size=(20, 4)).astype(np.float32)
    want = ops.topk(queries, items, 70)
    for method in ("float32", "compact"):
        indices, _ = ops.cuda.ItemIndex(items).topk(queries, 70, method=method)
        np.testing.assert_array_equal(indices.numpy(), want.indices)


def test_an_index_kept_on_the_device(rng: np.random.Generator) -> None:
    items = skewed(rng, N_ITEMS, 24)
    index = ops.ItemIndex(on_device(items), metric="cosine", device="cuda")
    assert (index.n_items, index.n_factors, index.n_removed, index.metric) == (N_ITEMS, 24, 0, "cosine")
    want = ops.topk(items[:5], items, 7, metric="cosine", deny=[1])
    for queries in (items[:5], on_device(items[:5])):
        np.testing.assert_array_equal(index.topk(queries, 7, deny=[1]).indices, want.indices)
    with pytest.raises(ConfigError, match="device must be 'cpu' for an index that is to be changed or saved"):
        index.remove([1])
    with pytest.raises(ConfigError, match="device must be 'cpu'"):
        index.save("nowhere")


def test_arrays_on_the_device_are_used_where_they_are(rng: np.random.Generator) -> None:
    items, queries = skewed(rng, N_ITEMS, 32), rng.normal(size=(64, 32)).astype(np.float32)
    bias = rng.normal(size=N_ITEMS).astype(np.float32)
    want = ops.topk(queries, items, 10, item_bias=bias)
    index = ops.cuda.ItemIndex(on_device(items), on_device(bias))
    indices, scores = index.topk(on_device(queries), 10)
    assert (indices.shape, indices.dtype, indices.device) == ((64, 10), np.int64, "cuda:0")
    np.testing.assert_array_equal(consumed(indices), want.indices)
    np.testing.assert_allclose(consumed(scores), want.scores, rtol=1e-6)
    factors, prior, offset = items[:120], np.eye(32, dtype=np.float32), bias[:120]
    general = {"confidence": (1, 0.5), "target": (0, 1)}
    want_rows = ops.solve_rows(interactions(), factors, prior=prior, item_offset=offset, **general)
    rows = ops.cuda.solve_rows(
        interactions(), on_device(factors), prior=on_device(prior), item_offset=on_device(offset), **general
    )
    np.testing.assert_allclose(consumed(rows), want_rows, atol=1e-3)


def test_a_result_outlives_what_made_it(rng: np.random.Generator) -> None:
    items = rng.normal(size=(500, 8)).astype(np.float32)
    index = ops.cuda.ItemIndex(on_device(items))
    found = consumed(index.topk(on_device(items[:3]), 4)[0])
    want = ops.topk(items[:3], items, 4).indices
    del index
    np.testing.assert_array_equal(found, want)


@pytest.mark.skipif(EMULATED, reason="the emulated device has one stream")
def test_streams_follow_each_other(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    items, queries = skewed(rng, N_ITEMS, 32), rng.normal(size=(64, 32)).astype(np.float32)
    want = ops.topk(queries, items, 10)
    side = torch.cuda.Stream()
    for stream in (torch.cuda.default_stream(), side):
        with torch.cuda.stream(stream):
            index = ops.cuda.ItemIndex(on_device(items), stream=stream.cuda_stream)
            found, _ = index.topk(on_device(queries), 10, stream=stream.cuda_stream)
            np.testing.assert_array_equal(torch.from_dlpack(found).cpu().numpy(), want.indices)


def test_a_producer_is_told_the_stream(rng: np.random.Generator) -> None:
    if not EMULATED:
        pytest.skip("torch does not say what it was told")
    index = ops.cuda.ItemIndex(rng.normal(size=(50, 4)).astype(np.float32))
    queries = on_device(rng.normal(size=(2, 4)).astype(np.float32))
    index.topk(queries, 1)
    index.topk(queries, 1, stream=77)
    assert queries.streams == [1, 77]  # 1 is the default stream


def test_arrays_on_the_device_that_do_not_fit(rng: np.random.Generator) -> None:
    index = ops.cuda.ItemIndex(rng.normal(size=(50, 4)).astype(np.float32))
    with pytest.raises(DTypeError, match="queries must hold float32 on the device"):
        index.topk(on_device(np.zeros((1, 4))), 1)
    with pytest.raises(DTypeError, match="contiguous"):
        index.topk(on_device(np.zeros((4, 3), dtype=np.float32).T), 1)
    with pytest.raises(ShapeError, match=r"queries must have 2 dimension\(s\), got 1"):
        index.topk(on_device(np.zeros(4, dtype=np.float32)), 1)
    with pytest.raises(ShapeError, match="queries must have one column a factor, 4, got 5"):
        index.topk(on_device(np.zeros((1, 5), dtype=np.float32)), 1)
    with pytest.raises(DeviceError, match="item_bias must lie where item_factors does"):
        ops.cuda.ItemIndex(on_device(np.zeros((3, 2), dtype=np.float32)), np.zeros(3))


def test_what_is_refused(rng: np.random.Generator) -> None:
    items = rng.normal(size=(10, 3)).astype(np.float32)
    with pytest.raises(DataError, match="row 4"):
        ops.cuda.ItemIndex(np.where(np.arange(30).reshape(10, 3) == 13, np.nan, items))
    index = ops.cuda.ItemIndex(items)
    with pytest.raises(DataError, match="deny"):
        index.topk(items, 2, deny=[10])
    with pytest.raises(ShapeError, match=r"allow must have shape \(10, 10\), got \(3, 10\)"):
        index.topk(items, 2, allow=sp.eye_array(3, 10, format="csr"))
    with pytest.raises(ConfigError, match="k must be"):
        index.topk(items, 0)
    with pytest.raises(ConfigError, match="metric"):
        ops.cuda.ItemIndex(items, metric="cos")
    with pytest.raises(DeviceError, match="cuda:99"):
        ops.cuda.ItemIndex(items, device="cuda:99")


def test_the_stub_names_what_the_module_has() -> None:
    module = importlib.import_module("recsys_core._cuda")
    stub = ast.parse(Path(recsys_core.__file__).with_name("_cuda.pyi").read_text())
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name for node in stub.body if isinstance(node, ast.ClassDef)} - {"DeviceInfo", "CudaState"}
    assert functions | classes == {name for name in vars(module) if not name.startswith("_")}
    assert _core is not module
