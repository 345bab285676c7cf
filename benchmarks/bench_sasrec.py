"""Training SASRec: recsys_core against RecTools and RecBole, as far as installed.

    python benchmarks/bench_sasrec.py [--epochs 5] [--threads 2] [--rounds 1] [--users 0] [--only recsys_core,RecTools]

The same data (Amazon Beauty without every user's last item), loss (cross-entropy over all items), sizes (two
blocks of 64, hidden layers of 64, two heads, histories of 50), dropout, learning rate and number of epochs.  Each
contender runs in a process of its own, so that its peak memory can be told; contenders take turns.  The time is that
of ``fit`` over the epochs, with what it does before and after: ours some seconds of export, the others preparation.
After it the last items are ranked against all items that the user has not had, by the same code for everyone, so
that speed can be seen beside what was learnt.

An epoch shows each of the contenders each event once.  RecBole makes an example of every prefix of a history, of
which it takes 2,048 a step, its default; the others take 128 histories, which hold about as many events.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from recsys_core import create, load_dataset
from recsys_core.data import Interactions, Split, split_leave_last

N_FACTORS, N_BLOCKS, N_HEADS, MAX_LENGTH, DROPOUT, RATE, K = 64, 2, 2, 50, 0.2, 1e-3, 10

Recommended = pl.DataFrame
"""user_id, item_id and rank, best first."""


def in_order(part: Interactions) -> pl.DataFrame:
    """The events with their row as the time: the data set knows no more than the order."""
    return part.to_frame().select("user_id", "item_id", time=pl.int_range(len(part)))


def run_recsys_core(split: Split, n_epochs: int, n_threads: int) -> tuple[float, Recommended]:
    model = create(
        "sasrec", n_factors=N_FACTORS, n_blocks=N_BLOCKS, n_heads=N_HEADS, max_length=MAX_LENGTH, dropout=DROPOUT,
        block="standard", expansion=1, loss="cross_entropy", learning_rate=RATE, batch_size=128, n_epochs=n_epochs,
        validation=0, n_threads=n_threads,
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(split.train)
    seconds = time.perf_counter() - started
    return seconds, model.recommend(split.test.users.ids.to_list(), k=K)


def run_rectools(split: Split, n_epochs: int, n_threads: int) -> tuple[float, Recommended]:
    import torch
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    torch.set_num_threads(n_threads)
    events = in_order(split.train).with_columns(pl.from_epoch("time").alias("datetime"), weight=1.0).to_pandas()
    dataset = Dataset.construct(events)
    model = SASRecModel(
        n_factors=N_FACTORS, n_blocks=N_BLOCKS, n_heads=N_HEADS, session_max_len=MAX_LENGTH, dropout_rate=DROPOUT,
        loss="softmax", lr=RATE, batch_size=128, epochs=n_epochs,
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(dataset)
    seconds = time.perf_counter() - started
    users = np.intersect1d(split.test.users.ids.to_numpy(), events["user_id"].unique())
    found = model.recommend(users=users, dataset=dataset, k=K, filter_viewed=True)
    return seconds, pl.from_pandas(found[["user_id", "item_id", "rank"]])


def run_recbole(split: Split, n_epochs: int, n_threads: int) -> tuple[float, Recommended]:
    import torch

    for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
        if not hasattr(np, name):  # names of NumPy 1 that RecBole 1.2 still uses
            setattr(np, name, kind)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer

    from recsys_core import ops

    torch.set_num_threads(n_threads)
    with tempfile.TemporaryDirectory() as folder:
        # The test items are in the file too, and left out again by "test_only".
        both = pl.concat([in_order(split.train), in_order(split.test).with_columns(pl.col("time") + len(split.train))])
        (Path(folder) / "beauty").mkdir()
        both.select(
            pl.col("user_id").alias("user_id:token"),
            pl.col("item_id").alias("item_id:token"),
            pl.col("time").cast(pl.Float64).alias("timestamp:float"),
        ).write_csv(Path(folder) / "beauty" / "beauty.inter", separator="\t")
        settings = {
            "data_path": folder, "checkpoint_dir": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "test_only"}, "order": "TO", "group_by": "user", "mode": "full"},
            "train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": MAX_LENGTH, "hidden_size": N_FACTORS,
            "inner_size": N_FACTORS, "n_layers": N_BLOCKS, "n_heads": N_HEADS, "hidden_dropout_prob": DROPOUT,
            "attn_dropout_prob": DROPOUT, "loss_type": "CE", "learning_rate": RATE, "epochs": n_epochs,
            "train_batch_size": 2048, "use_gpu": False, "state": "ERROR", "show_progress": False,
        }  # fmt: skip
        argv, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line
        config = Config(model="SASRec", dataset="beauty", config_dict=settings)
        sys.argv = argv
        dataset = create_dataset(config)
        train, _, test = data_preparation(config, dataset)
        model = SASRec(config, train.dataset)
        started = time.perf_counter()
        Trainer(config, model).fit(train, saved=False, verbose=False, show_progress=False)
        seconds = time.perf_counter() - started
    model.eval()
    users, queries = [], []
    with torch.no_grad():
        for batch in test:
            asked = batch[0]
            users.append(asked["user_id"].numpy())
            queries.append(model.forward(asked["item_id_list"], asked["item_length"]).numpy())
    named = dataset.id2token("user_id", np.concatenate(users)).astype(str)
    factors = model.item_embedding.weight.detach().numpy()[1:]  # the first is the padding
    items = dataset.id2token("item_id", np.arange(1, len(factors) + 1)).astype(str)
    order = split.train.users.ids.cast(pl.String).to_list()
    rows = {user: row for row, user in enumerate(order)}
    columns = {item: column for column, item in enumerate(split.train.items.ids.cast(pl.String).to_list())}
    known = np.array([item in columns for item in items])
    ours = np.zeros((len(columns), factors.shape[1]), dtype=np.float32)
    ours[[columns[item] for item in items[known]]] = factors[known]
    seen = split.train.to_csr("binary")[[rows[user] for user in named]]
    indices, _ = ops.topk(np.concatenate(queries), ours, K, exclude=seen)
    table = pl.DataFrame(
        {
            "user_id": np.repeat(split.train.users.ids.to_numpy()[[rows[user] for user in named]], K),
            "item_id": split.train.items.ids.to_numpy()[indices.ravel()],
            "rank": np.tile(np.arange(1, K + 1), len(indices)),
        }
    )
    return seconds, table


CONTENDERS: dict[str, tuple[str, Callable[[Split, int, int], tuple[float, Recommended]]]] = {
    "recsys_core": ("torch", run_recsys_core),
    "RecTools": ("rectools", run_rectools),
    "RecBole": ("recbole", run_recbole),
}


def ndcg(recommended: Recommended, split: Split) -> float:
    """NDCG@K with one relevant item a user; users without a list count as misses."""
    wanted = split.test.to_frame().select("user_id", "item_id")
    hits = recommended.join(wanted, on=["user_id", "item_id"])
    return float((1 / np.log2(hits["rank"].to_numpy() + 1)).sum() / len(wanted))


def contend(name: str, options: argparse.Namespace) -> dict[str, float]:
    """One contender, in this process."""
    data = load_dataset("beauty-s3rec")
    split = split_leave_last(data.select(data.user_index < options.users) if options.users else data)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some leave logs where they run
        seconds, recommended = CONTENDERS[name][1](split, options.epochs, options.threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"epoch": seconds / options.epochs, "peak": peak, "ndcg": ndcg(recommended, split), "n": len(split.train)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users", type=int, default=0, help="the first users only, for a quick look; 0 for all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="which contenders")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options.contender, options)))
        return
    present = [name for name in options.only.split(",") if find_spec(CONTENDERS[name][0])]
    if absent := set(options.only.split(",")) - set(present):
        print("not installed: " + ", ".join(sorted(absent)))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in present}
    arguments = ["--epochs", str(options.epochs), "--threads", str(options.threads), "--users", str(options.users)]
    for _ in range(options.rounds):
        for name in present:
            child = [sys.executable, str(Path(__file__).resolve()), *arguments, "--contender", name]
            printed = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout
            results[name].append(json.loads(printed.splitlines()[-1]))
    medians = {name: statistics.median(row["epoch"] for row in rows) for name, rows in results.items()}
    print(f"{options.epochs} epochs, {options.threads} threads, medians of {options.rounds}")
    for name, rows in results.items():
        print(
            f"  {name:12} {medians[name]:7.2f} s an epoch {rows[0]['n'] / medians[name] / 1e3:8.1f} k events/s"
            f" {max(row['peak'] for row in rows):7.0f} MiB   NDCG@10 {rows[0]['ndcg']:.4f}"
            f" {medians[name] / medians[present[0]]:6.1f} x"
        )


if __name__ == "__main__":
    main()
