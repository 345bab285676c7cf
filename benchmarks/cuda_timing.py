"""Timing of contenders on a device, and what there is to time beside this library."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Callable

Contenders = dict[str, Callable[[], object]]


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_with_cuda():
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def wait_for_nothing() -> None:
    """For calls that end with their result on the host."""


def timed(contenders: Contenders, repeats: int, synchronize: Callable[[], None]) -> dict[str, list[float]]:
    """Seconds of each call, contenders taking turns after one call each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(repeats):
        for name, call in contenders.items():
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            times[name].append(time.perf_counter() - start)
    return times


def report(shape: str, times: dict[str, list[float]], operations: float = 0.0) -> None:
    ours = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rate = f"  {operations / median / 1e12:8.1f} effective Tops" if operations else ""
        spread = f"[{min(seconds) * 1e3:.3f}, {max(seconds) * 1e3:.3f}]"
        print(f"{shape:40} {name:32} {median * 1e3:10.3f} ms {spread:22} {median / ours:6.2f} x{rate}")
