"""Films that training never saw: the two towers, from titles, genres and tags, beside popularity and chance.

Run with RECSYS_DATA_DIR set to a folder that holds ml-latest-small, tags.csv included:

    python benchmarks/quality_cold_start.py [--seeds 1] [--text-model FOLDER]

A tenth of the films, at random, loses all of its ratings: they are cold.  Each model ranks the cold films, and only
them, for every user who rated one.  "Popularity" cannot tell them apart by ratings: it is given the number of tags,
which a shop without sales might have as views.  The settings are a first guess: nothing was tuned.  With a
sentence-transformer in ONNX, such as all-MiniLM-L6-v2, towers that read its vectors take part too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recsys_core import Interactions, create, load_dataset

K = 10
SETTINGS = {"n_factors": 32, "max_length": 20, "n_epochs": 4, "batch_size": 2048, "learning_rate": 0.003}
SETTINGS |= {"validation": 0.0, "id_dropout": 0.5}
TOWERS = {
    "two_tower, item_encoder=mlp": {"item_encoder": "mlp"},
    "two_tower, item_encoder=text": {"item_encoder": "text"},
    "two_tower, item_encoder=transformer": {"item_encoder": "transformer"},
}


def films() -> tuple[Interactions, pl.DataFrame]:
    """Ratings, and titles, years, genres and all tags of each film as one text."""
    interactions = load_dataset("ml-latest-small")
    tags = (
        pl.read_csv(Path(os.environ["RECSYS_DATA_DIR"]) / "ml-latest-small" / "tags.csv")
        .group_by("movieId", maintain_order=True)
        .agg(pl.col("tag").str.join(" ").alias("tags"), pl.len().alias("n_tags"))
    )
    table = interactions.item_features.join(tags, left_on="item_id", right_on="movieId", how="left")
    return interactions, table.with_columns(pl.col("tags").fill_null(""), pl.col("n_tags").fill_null(0))


def split(interactions: Interactions, is_cold: np.ndarray) -> tuple[Interactions, dict[int, list[int]]]:
    """Training without the cold films, which stay in the catalogue, and what each user rated of them, by user id."""
    rows = is_cold[interactions.item_index]
    train = interactions.select(~rows)
    cold: dict[int, list[int]] = {}
    users = interactions.users.ids.gather(interactions.user_index[rows]).to_list()
    items = interactions.items.ids.gather(interactions.item_index[rows]).to_list()
    for user, item in zip(users, items, strict=True):
        cold.setdefault(user, []).append(item)
    return train, {user: had for user, had in cold.items() if int(train.users.index_of([user])[0]) >= 0}


def measure(ranked: dict[int, list[int]], relevant: dict[int, list[int]]) -> tuple[float, float, float]:
    """NDCG@10, recall@10 and the half-width of a 95% interval of the former, over users."""
    gains = 1 / np.log2(np.arange(K) + 2)
    ndcg, recall = [], []
    for user, had in relevant.items():
        hits = np.isin(ranked[user][:K], had)
        ndcg.append((hits * gains[: len(hits)]).sum() / gains[: min(K, len(had))].sum())
        recall.append(hits.sum() / len(had))
    return float(np.mean(ndcg)), float(np.mean(recall)), float(1.96 * np.std(ndcg) / np.sqrt(len(ndcg)))


def by_scores(scores: np.ndarray, cold: list[int]) -> Callable[[list[int]], dict[int, list[int]]]:
    order = [cold[place] for place in np.argsort(-scores, kind="stable")]
    return lambda users: dict.fromkeys(users, order)


def run(
    interactions: Interactions, table: pl.DataFrame, towers: dict[str, dict[str, str]], seed: int, n_threads: int
) -> dict[str, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    is_cold = rng.random(interactions.n_items) < 0.1
    train, relevant = split(interactions, is_cold)
    cold_ids = interactions.items.ids.filter(pl.Series(is_cold)).to_list()
    n_tags = table["n_tags"].gather(np.flatnonzero(is_cold)).to_numpy()
    rankers = {"random": by_scores(rng.random(len(cold_ids)), cold_ids), "popularity": by_scores(n_tags, cold_ids)}
    found: dict[str, tuple[float, ...]] = {}
    for name, rank in rankers.items():
        found[name] = (*measure(rank(list(relevant)), relevant), 0.0)
    described = train.with_features(table.drop("n_tags"), cold_items=True)
    for name, settings in towers.items():
        started = time.perf_counter()
        choices = {**SETTINGS, **settings, "text_columns": ("title", "tags")}
        model = create("two_tower", random_state=seed, n_threads=n_threads, **choices).fit(described)
        seconds = time.perf_counter() - started
        answers = model.recommend(users=list(relevant), k=K, allow=cold_ids)
        lists = dict(answers.group_by("user_id", maintain_order=True).agg("item_id").iter_rows())
        found[name] = (*measure(lists, relevant), seconds)
        print(f"seed {seed}: {name}, NDCG@{K} {found[name][0]:.4f} after {seconds:.0f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="choices of cold films and model seeds to average over")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch, 0 for its own number")
    parser.add_argument("--text-model", help="folder of a sentence-transformer in ONNX and its tokenizer.json")
    parser.add_argument("--only", help="a tower's item encoder, to measure it alone")
    arguments = parser.parse_args()
    towers = {name: settings for name, settings in TOWERS.items() if arguments.only in (None, settings["item_encoder"])}
    if arguments.text_model:
        read = {"text_model": arguments.text_model}
        towers |= {f"{name}, sentence vectors": settings | read for name, settings in towers.items()}
    seeds = arguments.seeds
    interactions, table = films()
    print(interactions)
    results = [run(interactions, table, towers, seed, arguments.threads) for seed in range(seeds)]
    print(f"{'model':36s} {'ndcg@10':>8s} {'±':>6s} {'recall@10':>10s} {'fit s':>7s}   mean of {seeds} run(s)")
    for name in results[0]:
        ndcg, recall, half, seconds = np.mean([result[name] for result in results], axis=0)
        print(f"{name:36s} {ndcg:8.4f} {half / np.sqrt(seeds):6.4f} {recall:10.4f} {seconds:7.1f}")


if __name__ == "__main__":
    main()
