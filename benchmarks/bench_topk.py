"""Exact top-k: recsys_core against NumPy, implicit and onnxruntime, on one machine in one run.

    python benchmarks/bench_topk.py [--threads N] [--repeats N]

Item norms have a long tail, as popularity gives learned factors.  Every answer is compared with NumPy's before anything
is timed: scores within rounding, and the same items wherever neighbouring scores differ by more than that.  Processor
time is printed beside wall time, since it still means something on a machine that is not idle.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import implicit
import numpy as np
import onnx
import onnxruntime
from implicit.cpu.topk import topk as implicit_topk
from onnx import TensorProto, helper
from threadpoolctl import threadpool_limits

from recsys_core import ops

Answer = tuple[np.ndarray, np.ndarray]
Rival = Callable[[], Answer]

SHAPES = [(1, 1_000_000, 64, 10), (256, 100_000, 64, 10), (1_024, 26_744, 128, 100)]


def factors(rng: np.random.Generator, n: int, n_factors: int) -> np.ndarray:
    directions = rng.standard_normal((n, n_factors), dtype=np.float32)
    return directions * rng.lognormal(0, 0.5, (n, 1)).astype(np.float32) / np.float32(np.sqrt(n_factors))


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
    indices, scores = answer
    np.testing.assert_allclose(scores, want[1], rtol=1e-5, atol=1e-5, err_msg=name)
    gaps = np.abs(np.diff(want[1], axis=1)) > 1e-4
    clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(indices[clear], want[0][clear], err_msg=name)


def rivals(queries: np.ndarray, items: np.ndarray, k: int, n_threads: int) -> dict[str, Rival]:
    index = ops.ItemIndex(items)
    session = onnxruntime_session(items, k, n_threads)

    def implicit_answer() -> Answer:
        with threadpool_limits(1):  # as its documentation asks: it starts threads of its own around BLAS
            return implicit_topk(items, queries, k, num_threads=n_threads)

    def numpy_answer() -> Answer:
        with threadpool_limits(n_threads):
            return by_numpy(queries, items, k)

    def onnxruntime_answer() -> Answer:
        scores, indices = session.run(None, {"queries": queries})
        return indices, scores

    return {
        "recsys_core": lambda: index.topk(queries, k, n_threads=n_threads),
        "numpy": numpy_answer,
        "implicit": implicit_answer,
        "onnxruntime": onnxruntime_answer,
    }


def measure(call: Rival, repeats: int) -> tuple[list[float], list[float]]:
    """Wall and processor time of each repeat, in milliseconds."""
    walls, processors = [], []
    call()
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        walls.append((time.perf_counter() - wall) * 1e3)
        processors.append((time.process_time() - processor) * 1e3)
    return walls, processors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="threads for everyone; 0 means all usable processors")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n_threads = options.threads or ops.max_threads()
    print(f"{n_threads} thread(s), {ops.isa()}; ms, median of {options.repeats} [fastest, slowest], processor time")
    print(f"numpy {np.__version__}, implicit {implicit.__version__}, onnxruntime {onnxruntime.__version__}")
    rng = np.random.default_rng(0)
    for n_queries, n_items, n_factors, k in SHAPES:
        items, queries = factors(rng, n_items, n_factors), factors(rng, n_queries, n_factors)
        contenders = rivals(queries, items, k, n_threads)
        want = by_numpy(queries, items, k)
        for name, call in contenders.items():
            check(call(), want, name)
        print(f"\n{n_queries} queries x {n_items} items x {n_factors} factors, k = {k}")
        ours = 0.0
        for name, call in contenders.items():
            walls, processors = measure(call, options.repeats)
            median = statistics.median(walls)
            ours = ours or median
            spread = f"[{min(walls):.2f}, {max(walls):.2f}]"
            print(f"  {name:12}{median:9.2f} {spread:20}{statistics.median(processors):9.2f}{median / ours:8.1f} x")


if __name__ == "__main__":
    main()
