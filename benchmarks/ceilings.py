"""What the machine can do at best: operations a second, and bytes a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits


def product_gflops(n_threads: int) -> float:
    """What a float32 matrix product reaches, in 10^9 operations a second."""
    a = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    with threadpool_limits(n_threads):
        return 2 * 2048**3 / _median_seconds(lambda: a @ a) / 1e9


def copy_gigabytes(n_threads: int) -> float:
    """What copying 256 MiB reaches, far beyond any cache: 10^9 bytes read and written a second."""
    n = 2**26 // n_threads * n_threads
    sources, targets = (np.split(np.full(n, value, np.float32), n_threads) for value in (1, 0))
    with ThreadPoolExecutor(n_threads) as pool:
        seconds = _median_seconds(lambda: list(pool.map(np.copyto, targets, sources)))
    return 2 * 4 * n / seconds / 1e9


def _median_seconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
