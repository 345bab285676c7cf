"""What a second stage adds to its retriever.

Run with RECSYS_DATA_DIR set to a folder that holds ml-latest-small and beauty-s3rec:

    python benchmarks/quality_ranker.py [--seeds 3] [--data beauty-s3rec] [--retrievers als item_knn] [--validation]

The newest events of each user, ten of MovieLens and one of Beauty, are the test part; every item that they have not had
is a candidate.  The retriever is fitted on all of the rest, and so is the ranker, which fits retrievers of the same
settings; all settings are the defaults.  With --validation the newest events of the training part stand in for the test
part, which is then not looked at.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from recsys_core import create, evaluate, load_dataset
from recsys_core.data import Split, split_leave_last
from recsys_core.metrics import compare

N_TEST = {"ml-latest-small": 10, "beauty-s3rec": 1}
RETRIEVERS = ("als", "item_knn")
METRICS = ["ndcg", "recall"]


def run(split: Split, retriever: str, seed: int, n_threads: int) -> list[float]:
    """NDCG@10 of the retriever and of the ranker, and the gain with its interval; seconds to fit both."""
    first = create(retriever)
    started = time.perf_counter()
    first.fit(split.train)
    middle = time.perf_counter()
    second = create("ranker", retriever=retriever, random_state=seed, n_threads=n_threads).fit(split.train)
    seconds = (middle - started, time.perf_counter() - middle)
    before, after = (evaluate(model, split, k=[10], metrics=METRICS) for model in (first, second))
    gain = compare(after, before)["ndcg@10"]
    print(
        f"{retriever}, seed {seed}: best epoch {second.best_epoch_} of {len(second.curve_)}, "
        f"ndcg@10 {before.values['ndcg@10']:.4f} -> {after.values['ndcg@10']:.4f}, "
        f"{gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), "
        f"recall@10 {before.values['recall@10']:.4f} -> {after.values['recall@10']:.4f}, "
        f"fit {seconds[0]:.1f} s and {seconds[1]:.1f} s",
        flush=True,
    )
    return [before.values["ndcg@10"], after.values["ndcg@10"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the ranker to average over")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch, 0 for its own number")
    parser.add_argument("--validation", action="store_true", help="measure on the newest events of the training part")
    parser.add_argument("--data", choices=sorted(N_TEST), default="ml-latest-small")
    parser.add_argument("--retrievers", nargs="+", default=RETRIEVERS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    split = split_leave_last(load_dataset(arguments.data), n=N_TEST[arguments.data])
    if arguments.validation:  # the test part is not looked at
        split = split_leave_last(split.train, n=N_TEST[arguments.data])
    for retriever in arguments.retrievers:
        found = np.mean([run(split, retriever, seed, arguments.threads) for seed in range(arguments.seeds)], axis=0)
        print(f"{retriever}: ndcg@10 {found[0]:.4f} alone, {found[1]:.4f} with the ranker, mean of {arguments.seeds}")


if __name__ == "__main__":
    main()
