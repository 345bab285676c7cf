"""Interactions learned from a second, and NDCG@10: pairwise factorization here, in implicit and in LightFM.

    python benchmarks/bench_bpr.py [--threads N] [--factors 64,128] [--losses bpr,warp] [--large]

The data are synthetic: users and items of a few tastes with long tails, in the shape of MovieLens-1M, and with --large
of a million users' worth of entries more.  A tenth of the entries is held out.  Before anything is timed, every
library trains for the same number of epochs with the same step length and regularization, and ours must rank the held
out items at least as well as theirs, less the noise between seeds, or the script fails.  Then the libraries take turns,
each in fits of 1 and of several epochs, whose difference is the epochs' own time; medians are reported, with the
quartiles' distance as a share of the median.

For BPR, GFLOP/s count 15 f operations an entry (3 f for x . (y - z), 4 f to move each of three rows) and GB/s the three
rows read and written, wherever they come from.  The first line says what the machine's matrix product and copying
reach.

LightFM takes part where it is installed (its sdist needs its setup.py to be run directly, since no wheel builds with
new versions of pip).  cmfrec has no pairwise loss.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit runs its own threads; read when NumPy is imported

import importlib.util
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from ceilings import copy_gigabytes, product_gflops
from implicit.cpu.bpr import BayesianPersonalizedRanking

from recsys_core import ops

RATE, REGULARIZATION, NOISE = 0.05, 0.01, 0.01
EPOCHS = 20  # for quality
ROUNDS = 3
TIMED_EPOCHS, TIMED_EPOCHS_OF_LIGHTFM = 10, 2  # which takes several times as long
SHAPES = {"6,040 x 3,706": (6040, 3706, 550_000)}
LARGE = {"138,000 x 27,000": (138_000, 27_000, 9_000_000)}
Factors: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
Fit: TypeAlias = Callable[[sp.csr_matrix, int, int, int], Factors]


def tasteful(n_users: int, n_items: int, n_events: int, n_tastes: int = 20) -> sp.csr_matrix:
    """Long-tailed interactions; three in four events of a user are of their own taste."""
    rng = np.random.default_rng(0)
    activity, popularity = rng.lognormal(0, 1.0, n_users), rng.lognormal(0, 1.4, n_items)
    user_taste, item_taste = rng.integers(n_tastes, size=n_users), rng.integers(n_tastes, size=n_items)
    users = rng.choice(n_users, n_events, p=activity / activity.sum())
    items = rng.choice(n_items, n_events, p=popularity / popularity.sum())
    faithful = rng.random(n_events) < 0.75
    for taste in range(n_tastes):
        own = np.flatnonzero(item_taste == taste)
        chosen = np.flatnonzero(faithful & (user_taste[users] == taste))
        items[chosen] = rng.choice(own, len(chosen), p=popularity[own] / popularity[own].sum())
    matrix = sp.csr_matrix((np.ones(n_events, dtype=np.float32), (users, items)), shape=(n_users, n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def hold_out(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    coo = matrix.tocoo()
    test = np.random.default_rng(1).random(coo.nnz) < 0.1
    return tuple(
        sp.csr_matrix((coo.data[part], (coo.row[part], coo.col[part])), shape=matrix.shape) for part in (~test, test)
    )


def ndcg(train: sp.csr_matrix, test: sp.csr_matrix, factors: Factors) -> float:
    users = np.flatnonzero(np.diff(test.indptr))[:5000]
    user_factors, item_factors, item_bias = factors
    ranking = ops.topk(user_factors[users], item_factors, 10, item_bias=item_bias, exclude=train[users])
    gains = 1.0 / np.log2(np.arange(2, 12))
    hits = np.array([np.isin(row, test[user].indices) for row, user in zip(ranking.indices, users, strict=True)])
    best = np.cumsum(gains)[np.minimum(np.diff(test.indptr)[users], 10) - 1]
    return float(np.mean((hits * gains).sum(axis=1) / best))


def ours(objective: str, **options: object) -> Fit:
    def fit(train: sp.csr_matrix, n_factors: int, n_epochs: int, n_threads: int) -> Factors:
        fitted = getattr(ops, objective)(
            train, n_factors, n_epochs=n_epochs, n_threads=n_threads, learning_rate=RATE, **options
        )
        return tuple(fitted)

    return fit


def implicit_bpr(train: sp.csr_matrix, n_factors: int, n_epochs: int, n_threads: int) -> Factors:
    model = BayesianPersonalizedRanking(
        n_factors,
        learning_rate=RATE,
        regularization=REGULARIZATION,
        iterations=n_epochs,
        num_threads=n_threads,
        random_state=0,
    )
    model.fit(train, show_progress=False)
    # Its factors hold the item bias as their last column, against a constant 1.
    return model.user_factors, model.item_factors, np.zeros(train.shape[1], dtype=np.float32)


def lightfm(loss: str) -> Fit:
    from lightfm import LightFM

    def fit(train: sp.csr_matrix, n_factors: int, n_epochs: int, n_threads: int) -> Factors:
        model = LightFM(no_components=n_factors, loss=loss, learning_rate=RATE, max_sampled=10, random_state=0)
        model.fit(train.tocoo(), epochs=n_epochs, num_threads=n_threads)
        return model.user_embeddings, model.item_embeddings, model.item_biases

    return fit


def contenders(losses: list[str]) -> dict[str, tuple[Fit, str]]:
    """Name to the fit and the rival that it is held against ("" for the rivals)."""
    plain = {"optimizer": "sgd", "schedule": "constant", "regularization": REGULARIZATION}
    has_lightfm = importlib.util.find_spec("lightfm") is not None
    found: dict[str, tuple[Fit, str]] = {}
    if "bpr" in losses:
        found["bpr, plain SGD"] = (ours("bpr", **plain), "implicit bpr")
        found["bpr, Adagrad"] = (ours("bpr", regularization=REGULARIZATION), "implicit bpr")
        found["implicit bpr"] = (implicit_bpr, "")
        if has_lightfm:
            found["LightFM bpr"] = (lightfm("bpr"), "")
    if "warp" in losses and has_lightfm:
        found["warp, Adagrad"] = (ours("warp", regularization=REGULARIZATION), "LightFM warp")
        found["LightFM warp"] = (lightfm("warp"), "")
    return found


def compare(matrix: sp.csr_matrix, n_factors: int, n_threads: int, losses: list[str]) -> None:
    train, test = hold_out(matrix)
    fits = contenders(losses)
    quality = {name: ndcg(train, test, fit(train, n_factors, EPOCHS, n_threads)) for name, (fit, _) in fits.items()}
    for name, (_, rival) in fits.items():
        if rival and quality[name] < quality[rival] - NOISE:
            raise SystemExit(f"{name}: NDCG@10 {quality[name]:.4f}, {rival} reaches {quality[rival]:.4f}")
    speeds: dict[str, list[float]] = {name: [] for name in fits}
    for _ in range(ROUNDS):
        for name, (fit, _) in fits.items():
            n_epochs = TIMED_EPOCHS_OF_LIGHTFM if name.startswith("LightFM") else TIMED_EPOCHS
            start = time.perf_counter()
            fit(train, n_factors, 1, n_threads)
            between = time.perf_counter()
            fit(train, n_factors, 1 + n_epochs, n_threads)
            seconds = (time.perf_counter() - between) - (between - start)
            speeds[name].append(train.nnz * n_epochs / seconds / 1e6)
    for name, (_, rival) in fits.items():
        low, median, high = np.quantile(speeds[name], [0.25, 0.5, 0.75])
        ratio = f"{median / np.median(speeds[rival]):5.1f}x {rival}" if rival else ""
        work = f"{15 * n_factors * median / 1e3:5.1f} GFLOP/s {24 * n_factors * median / 1e3:5.1f} GB/s"
        print(
            f"{n_factors:4} {name:16} {median:7.2f} M/s ({(high - low) / median:4.0%})  {quality[name]:.4f}  "
            f"{work if 'bpr' in name else '':28}  {ratio}",
            flush=True,
        )


def installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}, version unknown" if importlib.util.find_spec(name) else f"{name} not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=ops.max_threads())
    parser.add_argument("--factors", default="64,128", help="numbers of factors, separated by commas")
    parser.add_argument("--losses", default="bpr,warp", help="bpr, warp or both")
    parser.add_argument("--large", action="store_true", help="also 9 million events")
    arguments = parser.parse_args()
    print(f"{installed('recsys-core')} on {ops.isa()}, {installed('implicit')}, {installed('lightfm')}, ", end="")
    print(f"{arguments.threads} thread(s), matrix product {product_gflops(arguments.threads):.0f} GFLOP/s, ", end="")
    print(f"copying {copy_gigabytes(arguments.threads):.1f} GB/s")
    for name, shape in {**SHAPES, **(LARGE if arguments.large else {})}.items():
        matrix = tasteful(*shape)
        print(
            f"\n{name}, {matrix.nnz:,} entries; million entries a second, and NDCG@10 after {EPOCHS} epochs", flush=True
        )
        for n_factors in map(int, arguments.factors.split(",")):
            compare(matrix, n_factors, arguments.threads, arguments.losses.split(","))


if __name__ == "__main__":
    main()
