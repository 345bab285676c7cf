"""How well the classical models rank with default and with tuned settings.

Run with RECSYS_DATA_DIR set to a folder that holds ml-latest-small and beauty-s3rec, or let MovieLens be downloaded:

    python benchmarks/quality_tuned.py [--data ml-latest-small beauty-s3rec] [--models als ease] [--trials 30]
                                       [--output DIR]

Every model is tuned by ``recsys_core.tuning.tune`` for NDCG@10 on a validation part of the training part, and measured
once on the test part, with its default and with the best settings, after fitting them on the whole training part.
``als-scaled`` is als with a regularization that grows with a row's entries, whose lambda is on another scale.
MovieLens: 20% of each user's ratings are the test part, and 20% of the rest the validation part.  Beauty: each user's
last and last but one event.  Ease and slim, whose trials take long, get fewer.  Studies are kept in DIR, so that a
second run only measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import recsys_core
from recsys_core import create, evaluate, load_dataset
from recsys_core.data import split_leave_last, split_random
from recsys_core.metrics import Evaluation
from recsys_core.models import SearchRange
from recsys_core.registry import default_registry
from recsys_core.tuning import Trial, tune

SPLITS = {"ml-latest-small": split_random, "beauty-s3rec": split_leave_last}
VALIDATION = {"ml-latest-small": partial(split_random, random_state=1), "beauty-s3rec": split_leave_last}
METRICS = ("ndcg", "recall", "coverage")
FEWER_TRIALS = {("ml-latest-small", "ease"): 10, ("ml-latest-small", "slim"): 7,
                ("beauty-s3rec", "ease"): 4, ("beauty-s3rec", "slim"): 10}  # fmt: skip
# Searches in other ranges than the config's: name -> (model, ranges).
SEARCHES = {"als-scaled": ("als", {"regularization_exponent": SearchRange(0.3, 1.0),
                                   "regularization": SearchRange(1e-4, 1.0, log=True)})}  # fmt: skip


def classic_models() -> list[str]:
    return [entry.spec.name for entry in default_registry().entries() if entry.module == "recsys_classic.plugin"]


def cells(evaluation: Evaluation) -> str:
    low, high = evaluation.interval("ndcg@10")
    values = evaluation.values
    return (
        f"{values['ndcg@10']:.4f} ({low:.4f} to {high:.4f}) | {values['recall@10']:.4f} | {values['coverage@10']:.3f}"
    )


def measure(data: str, name: str, n_trials: int, folder: Path) -> str:
    split = SPLITS[data](load_dataset(data))
    model, space = SEARCHES.get(name, (name, {}))

    def shown(trial: Trial) -> None:
        text = f"  {data} {name} {trial.number} {trial.state} {trial.value} {trial.seconds:.1f} s"
        print(text, file=sys.stderr, flush=True)

    tuning = tune(
        model,
        split.train,
        validation=VALIDATION[data],
        n_trials=min(n_trials, FEWER_TRIALS.get((data, name), n_trials)),
        space=space,
        study=folder / f"{data}-{name}.db",
        on_trial=shown,
    )
    (folder / f"{data}-{name}.json").write_text(json.dumps(tuning.best_settings, indent=2), encoding="utf-8")
    default, tuned = (
        evaluate(create(model, **settings).fit(split.train), split, k=10, metrics=METRICS)
        for settings in ({}, tuning.best_settings)
    )
    settings = ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in tuning.best_settings.items())  # fmt: skip
    return f"| {name} | {default.values['ndcg@10']:.4f} | {cells(tuned)} | {len(tuning.trials)} | {settings} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--models", nargs="+", default=[*classic_models(), *SEARCHES])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("runs/quality-tuned"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for data in options.data:
        print(f"\n{data}, recsys_core {recsys_core.__version__}")
        print("| model | NDCG@10, default | NDCG@10, tuned (95%) | recall@10 | coverage@10 | trials | settings |")
        print("|---|---|---|---|---|---|---|")
        for name in options.models:
            print(measure(data, name, options.trials, options.output), flush=True)


if __name__ == "__main__":
    main()
