"""Exact top-k: recsys_core against NumPy, implicit, onnxruntime, torch, faiss and usearch, as far as installed.

    python benchmarks/bench_topk.py [--shapes 0,1] [--data gaussian,skewed] [--exclude 144] [--without numpy,usearch]
    python benchmarks/bench_topk.py --models als:ml-latest-small,bpr:beauty-s3rec

Rows are Gaussian, or have norms with a long tail as popularity gives learned factors, or lie in clusters, or have one
factor much larger than the rest, or are asked by cosine, or with a bias; or they are the factors of a model fitted to
real data, asked by all its users.  Every answer is compared with NumPy's on the first queries before anything is
timed: scores within rounding, and the same items wherever neighbouring scores differ by more than that.  Contenders
take turns, with a pause for threads that spin.  A turn is one call; of small tasks it is several, of which the first is
not counted, since who serves requests finds caches and threads as the request before left them.  Processor time is
printed beside wall time, since it still means something on a machine that is not idle; memory is the most that a call
added to the process.  At the end come geometric means of how many times faster than the best other "auto" is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits
from topk_rivals import PACKAGES, Answer, Contender, Task, best_of, installed, rivals

from recsys_core import create, load_dataset, ops

SHAPES = [
    (1, 1_000_000, 64, 10),
    (1, 100_000, 64, 10),
    (32, 100_000, 64, 10),
    (2_048, 100_000, 64, 10),
    (8_192, 26_744, 128, 100),
    (512, 1_000_000, 128, 100),
]
DATA = ["gaussian", "skewed", "clustered", "outlier", "cosine", "bias"]
MODELS = [
    "als:ml-latest-small",
    "bpr:ml-latest-small",
    "als:ml-100k",
    "bpr:ml-100k",
    "als:beauty-s3rec",
    "bpr:beauty-s3rec",
]
N_CHECKED = 64
OURS = ("auto", "compact", "float32")
SMALL_TASK = 1 << 28  # products of two factors
CALLS_A_SMALL_TURN = 11


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


def seen_items(rng: np.random.Generator, n_queries: int, n_items: int, n: int) -> sp.csr_array:
    columns = np.stack([rng.choice(n_items, n, replace=False, shuffle=False) for _ in range(n_queries)])
    starts = np.arange(0, columns.size + 1, n)
    seen = sp.csr_array((np.ones(columns.size, dtype=np.float32), columns.ravel(), starts), (n_queries, n_items))
    seen.sort_indices()
    return seen


def check(answer: Answer, want: Answer, name: str) -> None:
    indices, scores = answer[0][:N_CHECKED], answer[1][:N_CHECKED]
    size = np.abs(want[1]).max()
    np.testing.assert_allclose(scores, want[1], rtol=1e-5, atol=1e-5 * size, err_msg=name)
    gaps = np.abs(np.diff(want[1], axis=1)) > 1e-4 * size
    clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(indices[clear], want[0][clear], err_msg=name)


def memory(field: str) -> float:
    """A figure of /proc/self/status in MiB, NaN where there is none."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), float("nan"))


def added_memory(call: Contender) -> float:
    """How far the call raised the peak of the process's memory, in MiB."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")
    reset.write_text("5")  # the peak starts again from what is in use
    before = memory("VmRSS")
    call()
    return max(0.0, memory("VmHWM") - before)


def measure(
    contenders: dict[str, Contender], repeats: int, calls_a_turn: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and processor time of each call, in milliseconds."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            time.sleep(0.05)
            for nth in range(calls_a_turn):
                wall, processor = time.perf_counter(), time.process_time()
                call()
                wall, processor = time.perf_counter() - wall, time.process_time() - processor
                if nth > 0 or calls_a_turn == 1:
                    times[name][0].append(wall * 1e3)
                    times[name][1].append(processor * 1e3)
    return times


def compare(title: str, index: ops.ItemIndex, asked: np.ndarray, task: Task, options: argparse.Namespace) -> float:
    """Checks, times and prints; how many times faster than the best other "auto" is.

    ``asked`` are the queries as ours takes them, ``task`` the same as inner products.
    """

    def ours(method: str) -> Contender:
        return lambda: index.topk(asked, task.k, exclude=task.seen, n_threads=task.n_threads, method=method)

    contenders: dict[str, Contender] = {method: ours(method) for method in OURS}
    if not options.ours:
        contenders |= rivals(task, options.without)
    scores = task.queries[:N_CHECKED] @ task.items.T
    task.mask(slice(0, N_CHECKED), scores)
    want = best_of(scores, task.k)
    for _ in range(70):  # so that auto knows that its index is asked often
        index.topk(asked[:1], task.k, n_threads=task.n_threads)
    for name, call in contenders.items():
        check(call(), want, name)
    added = {name: added_memory(call) for name, call in contenders.items()}
    products = len(task.queries) * task.items.size
    times = measure(contenders, options.repeats, CALLS_A_SMALL_TURN if products < SMALL_TASK else 1)
    medians = {name: statistics.median(walls) for name, (walls, _) in times.items()}
    print(f"\n{title}")
    for name, (walls, processors) in times.items():
        spread = f"[{min(walls):.2f}, {max(walls):.2f}]"
        print(
            f"  {name:12}{medians[name]:9.2f} {spread:20}{statistics.median(processors):9.2f}"
            f"{medians[name] / medians['auto']:8.1f} x{added[name]:9.0f} MiB"
        )
    others = {name: median for name, median in medians.items() if name not in OURS}
    best = min(others, key=lambda name: others[name]) if others else "float32"
    ratio = medians[best] / medians["auto"]
    print(
        f"  {ratio:.1f} x the best other, {best}; {2e-6 * products / medians['auto']:.0f} GFLOP/s effective", flush=True
    )
    return ratio


def bench_rows(shape: tuple[int, int, int, int], data: str, options: argparse.Namespace) -> float:
    n_queries, n_items, n_factors, k = shape
    rng = np.random.default_rng(0)
    items, queries = factors(rng, n_items, n_factors, data), factors(rng, n_queries, n_factors, data)
    bias = rng.standard_normal(n_items, dtype=np.float32) if data == "bias" else None
    index = ops.ItemIndex(items, bias, "cosine" if data == "cosine" else "dot")
    seen = seen_items(rng, n_queries, n_items, options.exclude) if options.exclude else None
    asked = queries
    if data == "cosine":
        items, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, queries))
    elif bias is not None:  # the bias as one more factor
        items, queries = np.c_[items, bias], np.c_[queries, np.ones(n_queries, dtype=np.float32)]
    filters = f", {options.exclude} seen" if options.exclude else ""
    title = f"{n_queries} queries x {n_items} items x {n_factors} factors, k = {k}, {data} rows{filters}"
    return compare(title, index, asked, Task(queries, items, k, seen, options.threads), options)


def bench_model(name: str, options: argparse.Namespace) -> float:
    model_name, data_name = name.split(":")
    form = create(model_name, n_factors=64, random_state=0).fit(load_dataset(data_name)).fitted_.form
    users, items, bias = form.user_factors, form.item_factors, form.item_bias
    index = ops.ItemIndex(items, bias)
    asked = users
    if bias is not None:
        items, users = np.c_[items, bias], np.c_[users, np.ones(len(users), dtype=np.float32)]
    task = Task(np.ascontiguousarray(users), np.ascontiguousarray(items), 10, None, options.threads)
    title = f"{len(asked)} users x {len(items)} items x {asked.shape[1]} factors, k = 10, {model_name} on {data_name}"
    return compare(title, index, asked, task, options)


def rate(call: Callable[[], object], amount: float) -> float:
    """The best of several calls."""
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        call()
        best = max(best, amount / (time.perf_counter() - start))
    return best


def print_ceilings(n_threads: int) -> None:
    """What the machine can do at this hour."""
    n = 2048
    square = np.ones((n, n), dtype=np.float32)
    with threadpool_limits(n_threads):
        gemm = rate(lambda: square @ square, 2 * n**3)
    parts = np.array_split(np.ones(1 << 27, dtype=np.float32), n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        read = rate(lambda: list(pool.map(np.max, parts)), 4 * (1 << 27))
    print(f"float32 matrix product {gemm / 1e9:.0f} GFLOP/s, memory read at {read / 1e9:.0f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="threads for everyone; 0 means all usable processors")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shapes", default=",".join(map(str, range(len(SHAPES)))), help="which shapes, from 0")
    parser.add_argument("--data", default=",".join(DATA), help="which kinds of rows")
    parser.add_argument(
        "--models", nargs="?", const=",".join(MODELS), help="factors of models fitted to real data instead"
    )
    parser.add_argument("--exclude", type=int, default=0, help="seen items a query")
    parser.add_argument("--ours", action="store_true", help="without rivals")
    parser.add_argument("--without", type=lambda names: names.split(","), default=[], help="rivals to leave out")
    options = parser.parse_args()
    options.threads = options.threads or ops.max_threads()
    print(
        f"{options.threads} thread(s), {ops.isa()}; ms, median of {options.repeats} [fastest, slowest], processor time"
    )
    versions = installed()
    print(f"numpy {np.__version__}, " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if absent := sorted(set(PACKAGES) - set(versions)):
        print("not installed: " + ", ".join(absent))
    print_ceilings(options.threads)
    ratios: dict[str, list[float]] = {}
    if options.models:
        for name in options.models.split(","):
            ratios.setdefault("models", []).append(bench_model(name, options))
    else:
        for shape in options.shapes.split(","):
            for data in options.data.split(","):
                ratios.setdefault(data, []).append(bench_rows(SHAPES[int(shape)], data, options))
    print(f"\ngeometric means of how much faster auto is than {'float32' if options.ours else 'the best other'}")
    for group, values in ratios.items():
        print(f"  {group:12}{statistics.geometric_mean(values):6.1f} x of {len(values)}")


if __name__ == "__main__":
    main()
