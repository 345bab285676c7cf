"""How long one user's recommendation takes: sasrec over 12,101 items, read from a bundle.

    python benchmarks/bench_serving.py [--threads 2] [--requests 300]

Requests come one at a time, each by the history of another user, through ``recommend_indices`` and through
``recommend``, which translates ids.  Training is one epoch of random histories: time does not depend on what the
weights are.  Before timing, both backends must give the same items, but where scores are equal within 1e-4.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys_core import Interactions, create, runtime, save_bundle
from recsys_core.data import Histories

N_USERS, N_ITEMS, N_EVENTS, K = 2000, 12_101, 20, 10


def bundle(folder: Path, n_threads: int) -> Path:
    rng = np.random.default_rng(0)
    items = rng.integers(0, N_ITEMS, (N_USERS, N_EVENTS))
    items.ravel()[:N_ITEMS] = np.arange(N_ITEMS)  # every item occurs
    users = np.repeat(np.arange(N_USERS), N_EVENTS)
    times = np.tile(np.arange(N_EVENTS), N_USERS)
    settings = {"n_blocks": 1, "loss": "sampled_softmax", "n_epochs": 1, "validation": 0, "n_threads": n_threads}
    model = create("sasrec", **settings).fit(Interactions.from_arrays(users, items.ravel(), datetimes=times))
    return save_bundle(model, folder / "sasrec.bundle")


def milliseconds(request: Callable[[int], object], n_requests: int) -> np.ndarray:
    for number in range(20):
        request(number)
    found = np.empty(n_requests)
    for number in range(n_requests):
        started = time.perf_counter()
        request(number)
        found[number] = 1e3 * (time.perf_counter() - started)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = bundle(Path(folder), arguments.threads)
        models = {name: runtime.load(path, backend=name, n_threads=arguments.threads) for name in ("core", "onnx")}
        fitted = models["core"]
        ids = fitted.items.ids.to_list()
        asked = [fitted.histories.rows([user]) for user in range(arguments.requests)]
        listed = [[ids[item] for item in history.indices] for history in asked]
        answers = [[model.recommend_indices(histories=each, k=K) for each in asked] for model in models.values()]
        for one, other in zip(*answers, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4 * max(1, np.abs(one.scores).max()))
        print(f"sasrec, {N_ITEMS:,} items, {N_EVENTS} events of history, k = {K}, {arguments.threads} threads")
        for name, model in models.items():
            rounds: dict[str, Callable[[int], object]] = {
                "recommend_indices": _by_index(model, asked, arguments.threads),
                "recommend": _by_id(model, listed, arguments.threads),
            }
            for call, request in rounds.items():
                found = milliseconds(request, arguments.requests)
                low, middle, high = np.percentile(found, [5, 50, 99])
                print(f"{name:5s} {call:18s} p50 {middle:.2f} ms, p5 {low:.2f}, p99 {high:.2f}")


def _by_index(model: runtime.Runtime, asked: list[Histories], n_threads: int) -> Callable[[int], object]:
    return lambda number: model.recommend_indices(histories=asked[number % len(asked)], k=K, n_threads=n_threads)


def _by_id(model: runtime.Runtime, listed: list[list[int]], n_threads: int) -> Callable[[int], object]:
    return lambda number: model.recommend(histories=[listed[number % len(listed)]], k=K, n_threads=n_threads)


if __name__ == "__main__":
    main()
