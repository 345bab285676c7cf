"""What encoders of fewer bits cost in NDCG, and how fast they are: sasrec on Beauty.

Run with RECSYS_DATA_DIR set to a folder that holds beauty-s3rec:

    python benchmarks/quality_precision.py [--epochs 36] [--threads 2]

The settings are those of ``configs/beauty-sasrec.toml``, trained for as many epochs as its validation found, without
another.  Seconds are those of encoding the histories of all users, the median of five interleaved rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from recsys_core import create, load_dataset
from recsys_core.cli.run_config import read_run_config
from recsys_core.data import split_leave_last
from recsys_core.export import reduce_encoder

CONFIG = Path(__file__).parent / "configs" / "beauty-sasrec.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch, 0 for its own number")
    arguments = parser.parse_args()
    request = read_run_config(CONFIG).model()
    settings = {**request.settings, "validation": 0.0, "refit": False, "n_threads": arguments.threads}
    split = split_leave_last(load_dataset("beauty-s3rec"))
    model = create(request.name, **{**settings, "n_epochs": arguments.epochs}).fit(split.train)
    reduced = [reduce_encoder(model, precision, split) for precision in ("float16", "int8")]
    encoders = {"float32": model.form.encoder} | {each.precision: each.fitted.form.encoder for each in reduced}
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(5):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.encode(model.histories, model.item_factors_)
            seconds[name].append(time.perf_counter() - started)
    print(f"float32: {np.median(seconds['float32']):.2f} s to encode {len(model.histories):,} histories")
    for each in reduced:
        print(
            f"{each}, queries differ by up to {each.query_difference:.4f}; {np.median(seconds[each.precision]):.2f} s"
        )


if __name__ == "__main__":
    main()
