"""Exact top-k: recsys_core against NumPy, implicit, onnxruntime and, where installed, torch, faiss and usearch.

    python benchmarks/bench_topk.py [--threads N] [--repeats N] [--shapes 1,32] [--data gaussian,skewed] [--exclude N]

Rows are Gaussian, or have norms with a long tail as popularity gives learned factors, or lie in clusters, or have one
factor much larger than the rest.  Every answer is compared with NumPy's on the first queries before anything is
timed: scores within rounding, and the same items wherever neighbouring scores differ by more than that.  Contenders
take turns, with a pause for threads that spin, and processor time is printed beside wall time, since it still means
something on a machine that is not idle.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import implicit
import numpy as np
import onnx
import onnxruntime
import scipy.sparse as sp
from implicit.cpu.topk import topk as implicit_topk
from onnx import TensorProto, helper
from threadpoolctl import threadpool_limits

from recsys_core import ops

Answer = tuple[np.ndarray, np.ndarray]
Rival = Callable[[], Answer]

SHAPES = [
    (1, 1_000_000, 64, 10),
    (1, 100_000, 64, 10),
    (32, 100_000, 64, 10),
    (2_048, 100_000, 64, 10),
    (8_192, 26_744, 128, 100),
    (512, 1_000_000, 128, 100),
]
DATA = ["gaussian", "skewed", "clustered", "outlier", "cosine", "bias"]
N_CHECKED = 64
SCORES_AT_ONCE = 1 << 28  # of those rivals that hold all scores of a batch


def factors(rng: np.random.Generator, n: int, n_factors: int, data: str) -> np.ndarray:
    rows = rng.standard_normal((n, n_factors), dtype=np.float32)
    if data == "clustered":
        rows *= np.float32(0.3)
        rows += rng.standard_normal((100, n_factors), dtype=np.float32)[rng.integers(0, 100, n)]
    if data == "outlier":
        rows[:, 0] *= 10
    if data == "skewed":
        rows *= rng.lognormal(0, 0.5, (n, 1)).astype(np.float32)
    return rows / np.float32(np.sqrt(n_factors))


def by_numpy(queries: np.ndarray, items: np.ndarray, k: int) -> Answer:
    scores = queries @ items.T
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    best.sort(axis=1)  # so that the stable sort below settles ties by item
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return best, np.take_along_axis(scores, best, axis=1)


def onnxruntime_session(items: np.ndarray, k: int, n_threads: int) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["queries", "items"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["values", "indices"]),
        ],
        "topk",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, [None, items.shape[1]])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, k]),
            helper.make_tensor_value_info("indices", TensorProto.INT64, [None, k]),
        ],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(items.T), "items"),
            onnx.numpy_helper.from_array(np.array([k]), "k"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = n_threads
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def check(answer: Answer, want: Answer, name: str) -> None:
    indices, scores = answer[0][:N_CHECKED], answer[1][:N_CHECKED]
    np.testing.assert_allclose(scores, want[1], rtol=1e-5, atol=1e-5, err_msg=name)
    gaps = np.abs(np.diff(want[1], axis=1)) > 1e-4
    clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(indices[clear], want[0][clear], err_msg=name)


def in_parts(call: Callable[[np.ndarray], Answer], queries: np.ndarray, n_items: int) -> Rival:
    """A rival that holds all scores of its batch is given batches that fit into memory."""
    n = max(1, SCORES_AT_ONCE // n_items)
    if len(queries) <= n:
        return lambda: call(queries)

    def answer() -> Answer:
        parts = [call(queries[first : first + n]) for first in range(0, len(queries), n)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    return answer


def optional_rivals(queries: np.ndarray, items: np.ndarray, k: int, n_threads: int) -> dict[str, Rival]:
    """Those of torch, faiss and usearch that are installed."""
    found: dict[str, Rival] = {}
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(n_threads)
        columns = torch.from_numpy(items).T

        def torch_answer(rows: np.ndarray) -> Answer:
            scores, indices = torch.topk(torch.from_numpy(rows) @ columns, k)
            return indices.numpy(), scores.numpy()

        found["torch"] = in_parts(torch_answer, queries, len(items))
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(n_threads)
        flat = faiss.IndexFlatIP(items.shape[1])
        flat.add(items)
        found["faiss"] = lambda: flat.search(queries, k)[::-1]
    if importlib.util.find_spec("usearch") and len(queries) * len(items) <= SCORES_AT_ONCE:
        from usearch.index import MetricKind, search

        def usearch_answer() -> Answer:
            matches = search(items, queries, k, MetricKind.IP, exact=True, threads=n_threads)
            return np.atleast_2d(matches.keys), 1 - np.atleast_2d(matches.distances)

        found["usearch"] = usearch_answer
    return found


def rivals(queries: np.ndarray, items: np.ndarray, k: int, n_threads: int) -> dict[str, Rival]:
    session = onnxruntime_session(items, k, n_threads)

    def implicit_answer() -> Answer:
        with threadpool_limits(1):  # as its documentation asks: it starts threads of its own around BLAS
            return implicit_topk(items, queries, k, num_threads=n_threads)

    def numpy_answer(rows: np.ndarray) -> Answer:
        with threadpool_limits(n_threads):
            return by_numpy(rows, items, k)

    def onnxruntime_answer(rows: np.ndarray) -> Answer:
        scores, indices = session.run(None, {"queries": rows})
        return indices, scores

    found = {"implicit": implicit_answer, "onnxruntime": in_parts(onnxruntime_answer, queries, len(items))}
    if len(queries) * len(items) <= SCORES_AT_ONCE:  # it takes minutes beyond
        found["numpy"] = in_parts(numpy_answer, queries, len(items))
    return found | optional_rivals(queries, items, k, n_threads)


def measure(contenders: dict[str, Rival], repeats: int) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and processor time of each repeat, in milliseconds."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(repeats):
        for name, call in contenders.items():
            time.sleep(0.05)
            wall, processor = time.perf_counter(), time.process_time()
            call()
            times[name][0].append((time.perf_counter() - wall) * 1e3)
            times[name][1].append((time.process_time() - processor) * 1e3)
    return times


def bench(shape: tuple[int, int, int, int], data: str, options: argparse.Namespace, n_threads: int) -> None:
    n_queries, n_items, n_factors, k = shape
    rng = np.random.default_rng(0)
    items, queries = factors(rng, n_items, n_factors, data), factors(rng, n_queries, n_factors, data)
    bias = rng.standard_normal(n_items, dtype=np.float32) if data == "bias" else None
    index = ops.ItemIndex(items, bias, "cosine" if data == "cosine" else "dot")
    seen = None
    if options.exclude:
        columns = rng.integers(0, n_items, (n_queries, options.exclude)).astype(np.int32)
        starts = np.arange(0, columns.size + 1, options.exclude)
        seen = sp.csr_array((np.ones(columns.size, dtype=np.float32), columns.ravel(), starts), (n_queries, n_items))
        seen.sort_indices()
    contenders: dict[str, Rival] = {
        "compact": lambda: index.topk(queries, k, exclude=seen, n_threads=n_threads, method="compact"),
        "auto": lambda: index.topk(queries, k, exclude=seen, n_threads=n_threads),
        "float32": lambda: index.topk(queries, k, exclude=seen, n_threads=n_threads, method="float32"),
    }
    if options.ours:
        want = contenders["float32"]()
        want = (want[0][:N_CHECKED], want[1][:N_CHECKED])
    else:
        if data == "cosine":
            items, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, queries))
        elif bias is not None:  # the bias as one more factor
            items, queries = np.c_[items, bias], np.c_[queries, np.ones(n_queries, dtype=np.float32)]
        filtered = seen is not None
        if not filtered:
            contenders |= rivals(queries, items, k, n_threads)
        scores = queries[:N_CHECKED] @ items.T
        if filtered:
            rows = np.repeat(np.arange(len(scores)), options.exclude)
            scores[rows, seen.indices[: len(rows)]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        want = best, np.take_along_axis(scores, best, axis=1)
    for name, call in contenders.items():
        check(call(), want, name)
    for _ in range(70):  # so that auto knows that its index is asked often
        index.topk(queries[:1, :n_factors], k, n_threads=n_threads)
    filters = f", {options.exclude} seen" if options.exclude else ""
    print(f"\n{n_queries} queries x {n_items} items x {n_factors} factors, k = {k}, {data} rows{filters}")
    times = measure(contenders, options.repeats)
    ours = statistics.median(times["compact"][0])
    for name, (walls, processors) in times.items():
        median = statistics.median(walls)
        spread = f"[{min(walls):.2f}, {max(walls):.2f}]"
        print(f"  {name:12}{median:9.2f} {spread:20}{statistics.median(processors):9.2f}{median / ours:8.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="threads for everyone; 0 means all usable processors")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shapes", default=",".join(map(str, range(len(SHAPES)))), help="which shapes, from 0")
    parser.add_argument("--data", default=",".join(DATA), help="which kinds of rows")
    parser.add_argument("--exclude", type=int, default=0, help="seen items a query (no rivals then)")
    parser.add_argument("--ours", action="store_true", help="without rivals")
    options = parser.parse_args()
    n_threads = options.threads or ops.max_threads()
    print(f"{n_threads} thread(s), {ops.isa()}; ms, median of {options.repeats} [fastest, slowest], processor time")
    print(f"numpy {np.__version__}, implicit {implicit.__version__}, onnxruntime {onnxruntime.__version__}")
    for shape in options.shapes.split(","):
        for data in options.data.split(","):
            bench(SHAPES[int(shape)], data, options, n_threads)


if __name__ == "__main__":
    main()
