"""Training SASRec: recsys_core against RecTools and RecBole, as far as installed.

    python benchmarks/bench_sasrec.py [--epochs 6] [--threads 2] [--users 0] [--seed 0] [--only recsys_core,RecTools]

The same data (Amazon Beauty without every user's last item), loss (cross-entropy over all items), sizes (two
blocks of 64, hidden layers of 64, two heads, histories of 50), dropout, learning rate and number of epochs.  Each
contender runs in a process of its own, so that its peak memory can be told.  After every epoch the last items are
ranked against all items that the user has not had, by the same code for everyone, so that speed can be seen beside what
was learnt; the clocks stand still meanwhile.  They count what a contender does before and after its epochs too: ours
some seconds of export, the others preparation.  Seconds of the processor are those of all threads, and say more than
those of the clock where the machine is not idle.

An epoch shows each of the contenders each event once.  RecBole makes an example of every prefix of a history, of
which it takes 2,048 a step, its default; the others take 128 histories, which hold about as many events.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from recsys_core import load_dataset, ops
from recsys_core.data import Interactions, Split, split_leave_last

N_FACTORS, N_BLOCKS, N_HEADS, MAX_LENGTH, DROPOUT, RATE, K = 64, 2, 2, 50, 0.2, 1e-3, 10

Recommended: TypeAlias = pl.DataFrame
"""user_id, item_id and rank, best first."""


def in_order(part: Interactions) -> pl.DataFrame:
    """The events with their row as the time: the data set knows no more than the order."""
    return part.to_frame().select("user_id", "item_id", time=pl.int_range(len(part)))


@dataclass
class Trial:
    """One contender's training: what it is given, and what is taken down."""

    split: Split
    n_epochs: int
    n_threads: int
    seed: int
    curve: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0

    @contextlib.contextmanager
    def clocked(self) -> Iterator[None]:
        """Count the time of a block."""
        started = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - started[0]
        self.processor += time.process_time() - started[1]

    @contextlib.contextmanager
    def unclocked(self) -> Iterator[None]:
        """Leave a block within a clocked one out again."""
        aside = Trial(self.split, 0, 0, 0)
        with aside.clocked():
            yield
        self.seconds -= aside.seconds
        self.processor -= aside.processor

    def take_down(self, recommended: Recommended) -> None:
        """NDCG@K after an epoch, with one relevant item a user; users without a list count as misses."""
        wanted = self.split.test.to_frame().select("user_id", "item_id")
        hits = recommended.join(wanted, on=["user_id", "item_id"])
        self.curve.append(float((1 / np.log2(hits["rank"].to_numpy() + 1)).sum() / len(wanted)))
        print(f"  epoch {len(self.curve)}: {self.curve[-1]:.4f}", file=sys.stderr, flush=True)


def run_recsys_core(trial: Trial) -> None:
    from recsys_neural.models.sasrec import Sasrec
    from recsys_neural.networks.sequence import encode_histories

    train = trial.split.train

    class Observed(Sasrec):
        """Ranks after every epoch, where others validate."""

        def train(self, interactions, make_task, progress):
            def make_observed(histories, held_out):
                task = make_task(histories, held_out)
                encoder = task.objective.encoder

                def observe() -> float:
                    with trial.unclocked():
                        factors = encoder.item_factors.detach().numpy()
                        queries = encode_histories(encoder, histories, MAX_LENGTH, encoder.item_factors.device)
                        trial.take_down(ranked(trial, np.arange(train.n_users), queries, factors))
                    return float(len(trial.curve))  # the last epoch is the best: its weights are kept

                return replace(task, validate=observe)

            return super().train(interactions, make_observed, progress)

    model = Observed(
        n_factors=N_FACTORS, n_blocks=N_BLOCKS, n_heads=N_HEADS, max_length=MAX_LENGTH, dropout=DROPOUT,
        block="standard", expansion=1, loss="cross_entropy", learning_rate=RATE, batch_size=128,
        n_epochs=trial.n_epochs, validation=0, random_state=trial.seed, n_threads=trial.n_threads,
    )  # fmt: skip
    with trial.clocked():
        model.fit(train)


def run_rectools(trial: Trial) -> None:
    import torch
    from pytorch_lightning import Trainer, seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    torch.set_num_threads(trial.n_threads)
    seed_everything(trial.seed)
    events = in_order(trial.split.train).with_columns(pl.from_epoch("time").alias("datetime"), weight=1.0).to_pandas()
    dataset = Dataset.construct(events)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    model = SASRecModel(
        n_factors=N_FACTORS, n_blocks=N_BLOCKS, n_heads=N_HEADS, session_max_len=MAX_LENGTH, dropout_rate=DROPOUT,
        loss="softmax", lr=RATE, batch_size=128,
        get_trainer_func=lambda: Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet),
    )  # fmt: skip
    users = np.intersect1d(trial.split.test.users.ids.to_numpy(), events["user_id"].unique())
    for _ in range(trial.n_epochs):
        with trial.clocked():
            model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        found = model.recommend(users=users, dataset=dataset, k=K, filter_viewed=True)
        trial.take_down(pl.from_pandas(found[["user_id", "item_id", "rank"]]))


def run_recbole(trial: Trial) -> None:
    import torch

    for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
        if not hasattr(np, name):  # names of NumPy 1 that RecBole 1.2 still uses
            setattr(np, name, kind)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    torch.set_num_threads(trial.n_threads)
    split = trial.split
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
            "attn_dropout_prob": DROPOUT, "loss_type": "CE", "learning_rate": RATE, "epochs": 1, "seed": trial.seed,
            "train_batch_size": 2048, "use_gpu": False, "state": "ERROR", "show_progress": False,
        }  # fmt: skip
        argv, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line
        config = Config(model="SASRec", dataset="beauty", config_dict=settings)
        sys.argv = argv
        init_seed(trial.seed, reproducibility=True)
        dataset = create_dataset(config)
        train, _, test = data_preparation(config, dataset)
        model = SASRec(config, train.dataset)
        trainer = Trainer(config, model)
        for epoch in range(trial.n_epochs):
            trainer.start_epoch, trainer.epochs = epoch, epoch + 1
            with trial.clocked():
                trainer.fit(train, saved=False, verbose=False, show_progress=False)
            model.eval()
            trial.take_down(recbole_lists(trial, model, dataset, test))


def recbole_lists(trial: Trial, model: Any, dataset: Any, test: Any) -> Recommended:
    """RecBole's queries and factors in our order of users and items, ranked."""
    import torch

    users, queries = [], []
    with torch.no_grad():
        for batch in test:
            asked = batch[0]
            users.append(asked["user_id"].numpy())
            queries.append(model.forward(asked["item_id_list"], asked["item_length"]).numpy())
    train = trial.split.train
    named = dataset.id2token("user_id", np.concatenate(users)).astype(str)
    factors = model.item_embedding.weight.detach().numpy()[1:]  # the first is the padding
    items = dataset.id2token("item_id", np.arange(1, len(factors) + 1)).astype(str)
    rows = {user: row for row, user in enumerate(train.users.ids.cast(pl.String).to_list())}
    columns = {item: column for column, item in enumerate(train.items.ids.cast(pl.String).to_list())}
    known = np.array([item in columns for item in items])
    ours = np.zeros((len(columns), factors.shape[1]), dtype=np.float32)
    ours[[columns[item] for item in items[known]]] = factors[known]
    return ranked(trial, np.array([rows[user] for user in named]), np.concatenate(queries), ours)


def ranked(trial: Trial, users: np.ndarray, queries: np.ndarray, factors: np.ndarray) -> Recommended:
    """The best items of users, by their rows in the training part, that these have not had."""
    train = trial.split.train
    indices, _ = ops.topk(queries, factors, K, exclude=train.to_csr("binary")[users])
    return pl.DataFrame(
        {
            "user_id": np.repeat(train.users.ids.to_numpy()[users], K),
            "item_id": train.items.ids.to_numpy()[indices.ravel()],
            "rank": np.tile(np.arange(1, K + 1), len(indices)),
        }
    )


CONTENDERS: dict[str, tuple[str, Callable[[Trial], None]]] = {
    "recsys_core": ("torch", run_recsys_core),
    "RecTools": ("rectools", run_rectools),
    "RecBole": ("recbole", run_recbole),
}


def contend(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One contender, in this process."""
    data = load_dataset("beauty-s3rec")
    split = split_leave_last(data.select(data.user_index < options.users) if options.users else data)
    trial = Trial(split, options.epochs, options.threads, options.seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some leave logs where they run
        CONTENDERS[name][1](trial)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    epoch, processor = trial.seconds / options.epochs, trial.processor / options.epochs
    return {"epoch": epoch, "processor": processor, "peak": peak, "curve": trial.curve, "n": len(split.train)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users", type=int, default=0, help="the first users only, for a quick look; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="which contenders")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options.contender, options)))
        return
    present = [name for name in options.only.split(",") if find_spec(CONTENDERS[name][0])]
    if absent := set(options.only.split(",")) - set(present):
        print("not installed: " + ", ".join(sorted(absent)))
    arguments = [f"--{name}={getattr(options, name)}" for name in ("epochs", "threads", "users", "seed")]
    print(f"{options.epochs} epochs, {options.threads} threads; seconds an epoch, of the clock and of the processor")
    for name in present:
        child = [sys.executable, str(Path(__file__).resolve()), *arguments, "--contender", name]
        printed = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = json.loads(printed.splitlines()[-1])
        speed = found["n"] / found["epoch"] / 1e3
        curve = " ".join(f"{value:.4f}" for value in found["curve"])
        print(
            f"  {name:12} {found['epoch']:7.2f} {found['processor']:7.2f} {speed:6.1f} k events/s"
            f" {found['peak']:6.0f} MiB   NDCG@{K} {curve}",
            flush=True,
        )


if __name__ == "__main__":
    main()
