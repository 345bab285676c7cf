"""Other libraries' exact top-k behind one call, for bench_topk.py: those that are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

Answer = tuple[np.ndarray, np.ndarray]
Contender = Callable[[], Answer]

SCORES_AT_ONCE = 1 << 24  # of those that hold all scores of a batch: about where each is fastest
SCORES_IN_REASON = 1 << 28  # more take NumPy and usearch minutes
PACKAGES = {
    "implicit": "implicit",
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "faiss": "faiss-cpu",
    "usearch": "usearch",
}


@dataclass(frozen=True)
class Task:
    """The k best of ``items`` for each of ``queries``, without those of ``seen``."""

    queries: np.ndarray
    items: np.ndarray
    k: int
    seen: sp.csr_array | None
    n_threads: int

    def mask(self, rows: slice, scores: np.ndarray) -> None:
        if self.seen is not None:
            entries = self.seen[rows].tocoo()
            scores[entries.row, entries.col] = -np.inf

    def by_parts(self, call: Callable[[slice], Answer]) -> Contender:
        """A contender that holds all scores of its batch is given batches as a careful user would make them."""
        n, total = max(1, SCORES_AT_ONCE // len(self.items)), len(self.queries)
        if total <= n:
            return lambda: call(slice(0, total))

        def answer() -> Answer:
            parts = [call(slice(first, first + n)) for first in range(0, total, n)]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

        return answer


def installed() -> dict[str, str]:
    """The versions of the libraries that can take part."""
    return {name: importlib.metadata.version(PACKAGES[name]) for name in PACKAGES if importlib.util.find_spec(name)}


def best_of(scores: np.ndarray, k: int) -> Answer:
    best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    best.sort(axis=1)  # so that the stable sort below settles ties by item
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return best, np.take_along_axis(scores, best, axis=1)


def numpy_contender(task: Task) -> Contender | None:
    if len(task.queries) * len(task.items) > SCORES_IN_REASON:
        return None

    def call(rows: slice) -> Answer:
        with threadpool_limits(task.n_threads):
            scores = task.queries[rows] @ task.items.T
        task.mask(rows, scores)
        return best_of(scores, task.k)

    return task.by_parts(call)


def implicit_contender(task: Task) -> Contender:
    from implicit.cpu.topk import topk

    def call() -> Answer:
        with threadpool_limits(1):  # as its documentation asks: it starts threads of its own around BLAS
            return topk(
                task.items,
                task.queries,
                task.k,
                filter_query_items=None if task.seen is None else sp.csr_matrix(task.seen),
                num_threads=task.n_threads,
            )

    return call


def onnxruntime_contender(task: Task) -> Contender | None:
    if task.seen is not None:
        return None  # a graph that masks by rows would be another benchmark
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["queries", "items"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["values", "indices"]),
        ],
        "topk",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, [None, task.items.shape[1]])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, task.k]),
            helper.make_tensor_value_info("indices", TensorProto.INT64, [None, task.k]),
        ],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(task.items.T), "items"),
            onnx.numpy_helper.from_array(np.array([task.k]), "k"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = task.n_threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])

    def call(rows: slice) -> Answer:
        scores, indices = session.run(None, {"queries": task.queries[rows]})
        return indices, scores

    return task.by_parts(call)


def torch_contender(task: Task) -> Contender:
    import torch

    torch.set_num_threads(task.n_threads)
    columns = torch.from_numpy(task.items).T

    def call(rows: slice) -> Answer:
        scores = torch.from_numpy(task.queries[rows]) @ columns
        task.mask(rows, scores.numpy())
        best, indices = torch.topk(scores, task.k)
        return indices.numpy(), best.numpy()

    return task.by_parts(call)


def faiss_contender(task: Task) -> Contender:
    import faiss

    faiss.omp_set_num_threads(task.n_threads)
    flat = faiss.IndexFlatIP(task.items.shape[1])
    flat.add(task.items)
    if task.seen is None:
        return lambda: flat.search(task.queries, task.k)[::-1]
    n_items = len(task.items)
    owners = np.repeat(np.arange(len(task.queries)), np.diff(task.seen.indptr))
    keys = owners * n_items + task.seen.indices
    n_asked = task.k + int(np.diff(task.seen.indptr).max(initial=0))

    def over_fetch() -> Answer:
        scores, indices = flat.search(task.queries, n_asked)
        found = np.arange(len(indices))[:, None] * n_items + indices
        at = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        kept = np.argsort(keys[at] == found, axis=1, kind="stable")[:, : task.k]
        return np.take_along_axis(indices, kept, axis=1), np.take_along_axis(scores, kept, axis=1)

    return over_fetch


def usearch_contender(task: Task) -> Contender | None:
    if task.seen is not None or len(task.queries) * len(task.items) > SCORES_IN_REASON:
        return None  # it has no filter for each query
    from usearch.index import MetricKind, search

    def call() -> Answer:
        matches = search(task.items, task.queries, task.k, MetricKind.IP, exact=True, threads=task.n_threads)
        return np.atleast_2d(matches.keys), 1 - np.atleast_2d(matches.distances)

    return call


MAKERS: dict[str, Callable[[Task], Contender | None]] = {
    "numpy": numpy_contender,
    "implicit": implicit_contender,
    "onnxruntime": onnxruntime_contender,
    "torch": torch_contender,
    "faiss": faiss_contender,
    "usearch": usearch_contender,
}


def rivals(task: Task, without: Collection[str]) -> dict[str, Contender]:
    """Every installed library that can do the task in reasonable time, but those named."""
    there = {"numpy", *installed()} - {*without}
    made = {name: make(task) for name, make in MAKERS.items() if name in there}
    return {name: contender for name, contender in made.items() if contender is not None}
