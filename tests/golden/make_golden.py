"""Write the golden bundles of the current format: ``python tests/golden/make_golden.py``.

Run once when ``FORMAT_VERSION`` is raised; the folders of older formats are never written again, and every later
version must read them.  A bundle carries the oldest format that has what it needs, so that each folder holds models
that need its format.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

import recsys_core
from recsys_core import ops
from recsys_core.bundle import FORMAT_VERSION

FOLDER = Path(__file__).parent / f"v{FORMAT_VERSION}"
MODELS = {
    1: {
        "popularity": {},
        "item_knn": {"n_neighbors": 3},
        "ease": {},
        "als": {"n_factors": 3, "n_iterations": 3},
        "bpr": {"n_factors": 3, "n_epochs": 3},
    },
    # What reads features of users when it is asked.
    2: {"two_tower": {"user_encoder": {"name": "mlp", "n_hidden": 4}, "n_factors": 4, "n_epochs": 9, "max_length": 4}},
}
EVENTS = {
    "ann": ["tea", "rum", "gin"],
    "bob": ["tea", "gin", "ale", "ale"],
    "cat": ["rum", "ale"],
    "dan": ["tea", "rum", "pop", "gin"],
    "eve": ["pop", "gin"],
}


PEOPLE = {
    "user_id": ["ann", "bob", "cat", "dan", "eve"],
    "town": ["ulm", "bonn", "ulm", "ulm", "bonn"],
    "age": [20.0, 30.0, None, 25.0, 60.0],
}


def make_index() -> None:
    items = (np.arange(200 * 5) * 7919 % 23 - 11).reshape(200, 5)
    index = ops.ItemIndex(items, np.arange(200) % 9)
    index.remove([7, 100])
    index.save(FOLDER / "item_index.safetensors")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    if FORMAT_VERSION == 1:  # an index file has a format of its own
        make_index()
    pairs = [(user, item) for user, items in EVENTS.items() for item in items]
    interactions = recsys_core.Interactions.from_arrays(*map(list, zip(*pairs, strict=True)))
    if FORMAT_VERSION > 1:
        interactions = interactions.with_features(user_features=pl.DataFrame(PEOPLE))
    for name, settings in MODELS[FORMAT_VERSION].items():
        model = recsys_core.create(name, **settings).fit(interactions)
        recsys_core.save_bundle(model, FOLDER / name)
        asked = {"users": ["ann", "eve"]}
        answers = [{"asked": asked, "answer": model.recommend(**asked, k=2).to_dicts()}]
        if model.form.accepts_histories:
            asked = {"histories": [["tea"], ["ale", "pop"]]}
            answers.append({"asked": asked, "answer": model.recommend(**asked, k=2).to_dicts()})
        if model.form.user_preparation is not None:
            people = [{"town": "ulm", "age": 22}, {"town": "bonn"}, {}]
            questions = ({"user_features": people}, {"user_features": people, "histories": [["tea"], [], ["rum"]]})
            answers += [{"asked": asked, "answer": model.recommend(**asked, k=2).to_dicts()} for asked in questions]
        (FOLDER / f"{name}.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
