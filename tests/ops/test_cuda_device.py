"""The operations on a CUDA device, against the CPU.  Skipped, with the reason, where there is none.

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
from device_arrays import EMULATED, consumed, on_device

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


def interactions(n_users: int = 60 if EMULATED else 300, n_items: int = 120, seed: int = 0) -> sp.csr_matrix:
    matrix = sp.random(n_users, n_items, density=0.08, format="csr", dtype=np.float32, rng=np.random.default_rng(seed))
    matrix.data[:] = 1 + np.floor(matrix.data * 3)
    return matrix


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


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
@pytest.mark.parametrize("f", [1, 8, 33, 64, 128] if not EMULATED else [1, 33])
def test_als_agrees_with_the_cpu_and_repeats(f: int, solver: str) -> None:
    matrix = interactions()
    losses: list[float] = []
    want_losses: list[float] = []
    settings = {"regularization": 1.0, "alpha": 5.0, "n_iterations": 3, "solver": solver, "block_size": 14}
    want = ops.als(matrix, f, **settings, callback=lambda _, loss: want_losses.append(loss))
    got = ops.als(matrix, f, **settings, callback=lambda _, loss: losses.append(loss), device="cuda")
    on_it = ops.cuda.als(matrix, f, **settings)
    for mine, theirs, repeated in zip(got, want, on_it, strict=True):
        np.testing.assert_array_equal(mine, repeated.numpy())
        np.testing.assert_allclose(mine, theirs, atol=2e-3)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-4)


def test_als_in_mixed_precision_is_as_good_as_in_float32() -> None:
    settings = {"regularization": 1.0, "alpha": 5.0, "n_iterations": 3, "solver": "cholesky"}
    want = ops.als(interactions(), 33, **settings)
    got = ops.cuda.als(interactions(), 33, **settings, precision="mixed")
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=2e-3)
    with pytest.raises(ConfigError, match="precision must be one of float32, mixed"):
        ops.cuda.als(interactions(), 4, precision="half")


def test_als_takes_the_settings_of_the_cpu() -> None:
    settings = {"regularization": 0.05, "regularization_exponent": 0.7, "unobserved_weight": 0.3, "solver": "cholesky"}
    started = ops.als(interactions(), 6, n_iterations=1, random_state=5)
    losses: dict[str, list[float]] = {"cpu": [], "cuda": []}
    found = {
        device: ops.als(
            interactions(),
            6,
            **settings,
            start=started,
            n_iterations=20,
            tolerance=0.02,
            callback=lambda _, loss, device=device: losses[device].append(loss),
            device=device,
        )
        for device in losses
    }
    for mine, theirs in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-4)
    assert 1 < len(losses["cuda"]) < 20
    on_it = ops.cuda.als(interactions(), 6, start=ops.cuda.als(interactions(), 6, n_iterations=1), n_iterations=1)
    want = ops.cuda.als(interactions(), 6, n_iterations=2)
    for mine, theirs in zip(on_it, want, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_als_keeps_the_best_iteration() -> None:
    seen: list[np.ndarray] = []

    def validate(_: np.ndarray, item_factors: np.ndarray) -> float:
        seen.append(item_factors.copy())
        return -abs(len(seen) - 2)  # the second is the best

    _, items = ops.als(interactions(), 4, validate=validate, patience=2, n_iterations=9, device="cuda")
    assert len(seen) == 4
    np.testing.assert_array_equal(items, seen[1])
    plain = ops.als(interactions(), 4, n_iterations=2, device="cuda")
    np.testing.assert_array_equal(items, plain[1])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"solver": "lu"}, ConfigError, "solver must be one of auto, cholesky, cg, subspace"),
        ({"block_size": 0}, ConfigError, "block_size"),
        ({"unobserved_weight": 1.5}, ConfigError, "unobserved_weight must be at most 1"),
        ({"start": [np.zeros((1, 1))]}, ShapeError, "start must be a pair"),
        ({"start": [np.zeros((1, 4)), np.zeros((120, 4))]}, ShapeError, r"start\[0\] must have"),
    ],
)
def test_what_als_refuses(settings: dict[str, object], error: type[Exception], message: str) -> None:
    for train in (ops.cuda.als, ops.als):
        with pytest.raises(error, match=message):
            train(interactions(), 4, **settings, device="cuda")


def test_fold_in_agrees_with_the_cpu(rng: np.random.Generator) -> None:
    factors = rng.normal(size=(120, 40)).astype(np.float32)
    want = ops.fold_in(interactions(), factors, regularization=2.0, alpha=3.0)
    got = ops.fold_in(interactions(), factors, regularization=2.0, alpha=3.0, device="cuda")
    np.testing.assert_allclose(got, want, atol=1e-4)
    general = {"prior": np.eye(40, dtype=np.float32), "confidence": (1, 0.5), "target": (0, 1)}
    offset = rng.normal(size=120).astype(np.float32)
    want = ops.solve_rows(interactions(), factors, **general, item_offset=offset)
    got = ops.cuda.solve_rows(interactions(), factors, **general, item_offset=offset).numpy()
    np.testing.assert_allclose(got, want, atol=1e-4)


BLOCKS = sp.block_diag([np.ones((20, 8)), np.ones((20, 8))], format="csr", dtype=np.float32)


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
@pytest.mark.parametrize("name", ["bpr", "warp"])
def test_sgd_learns(name: str, optimizer: str) -> None:
    losses: list[float] = []
    options = {"n_epochs": 12, "optimizer": optimizer, "learning_rate": 0.2, "schedule": "constant"}
    train = getattr(ops, name)
    users, items, bias = train(BLOCKS, 8, callback=lambda _, loss: losses.append(loss), device="cuda", **options)
    scores = users @ items.T + bias
    assert losses[-1] < 0.3 * losses[0]
    assert (scores[:20, :8].min(axis=1) > scores[:20, 8:].max(axis=1)).all()
    # The losses of the CPU are of other draws, but about as large.
    theirs: list[float] = []
    train(BLOCKS, 8, callback=lambda _, loss: theirs.append(loss), **options)
    np.testing.assert_allclose(losses[0], theirs[0], rtol=0.3)


def test_sgd_goes_on_from_factors_and_keeps_the_best_epoch() -> None:
    started = ops.bpr(BLOCKS, 8, n_epochs=1, learning_rate=0.01, device="cuda")
    seen: list[ops.SgdFactors] = []

    def validate(factors: ops.SgdFactors) -> float:
        seen.append(factors)
        return -abs(len(seen) - 2)  # the second is the best

    best = ops.warp(
        BLOCKS, 8, initial=started, n_epochs=9, learning_rate=0.01, validate=validate, patience=3, device="cuda"
    )
    assert len(seen) == 5
    np.testing.assert_array_equal(best.item_factors, seen[1].item_factors)
    assert not np.array_equal(best.item_factors, seen[4].item_factors)
    # Its own result on the device goes in as it is.
    on_it = ops.cuda.bpr(BLOCKS, 8, initial=ops.cuda.bpr(BLOCKS, 8, n_epochs=1), n_epochs=1)
    assert [part.shape for part in on_it] == [(40, 8), (16, 8), (16,)]


@pytest.mark.parametrize("name", ["bpr", "warp"])
def test_sgd_learns_from_features_alone(name: str) -> None:
    # Groups are features of users and items: those who have had nothing score by them.
    interactions = sp.vstack([BLOCKS, sp.csr_matrix((2, 16), dtype=np.float32)], format="csr")
    groups = np.concatenate([np.repeat([0, 1], 20), [0, 1]])
    of_users = sp.csr_matrix(np.eye(2, dtype=np.float32)[groups])
    of_items = sp.csr_matrix(np.eye(2, dtype=np.float32)[np.repeat([0, 1], 8)])
    options = {"n_epochs": 12, "learning_rate": 0.2, "user_features": of_users, "item_features": of_items}
    seen: list[ops.SgdFactors] = []
    trained = getattr(ops, name)(
        interactions, 8, device="cuda", popularity_power=0.5, validate=lambda present: seen.append(present), **options
    )
    scores = trained.user_factors @ trained.item_factors.T + trained.item_bias
    assert scores[40, :8].min() > scores[40, 8:].max()
    assert scores[41, 8:].min() > scores[41, :8].max()
    assert len(seen) == 12
    for factors in (seen[0], trained):
        embedded = factors.embed_users(sp.eye_array(2, format="csr"))
        np.testing.assert_allclose(factors.user_factors[40:], embedded, atol=1e-6)
    again = getattr(ops.cuda, name)(interactions, 8, initial=trained, **(options | {"n_epochs": 1}))
    assert again.item_feature_bias.shape == (2,)
    with pytest.raises(ShapeError, match=r"initial\.user_feature_factors must be given with features"):
        getattr(ops.cuda, name)(interactions, 8, initial=trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"popularity_power": -0.5}, "popularity_power must be at least 0"),
        ({"optimizer": "adam"}, "optimizer must be one of adagrad, sgd"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, "diverged"),
        ({"patience": 0, "validate": len}, "patience"),
    ],
)
def test_what_sgd_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ops.bpr(BLOCKS, 4, device="cuda", n_epochs=3, **options)
    with pytest.raises(ConfigError, match="validate must be left out"):
        ops.cuda.warp(BLOCKS, 4, validate=len)
    with pytest.raises(TypeError, match="learning_rat"):
        ops.bpr(BLOCKS, 4, device="cuda", learning_rat=1.0)


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
