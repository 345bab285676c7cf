"""Every registered model's ONNX file loads and answers where nothing but onnxruntime and numpy is installed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_core import Interactions, create, export_onnx, list_models, save_bundle
from recsys_core.data import Histories, SentenceModel
from recsys_core.models import FittedModel
from recsys_core.testing import block_interactions
from recsys_core.testing.rankings import expect_same
from recsys_core.types import Ranking

# What a deployer writes: one process asks every question of every file in the folder.
SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

answers = {}
for path in sorted(Path(sys.argv[1]).glob("*/model.onnx")):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for question in path.parent.glob("*.npz"):
        asked = np.load(question)
        feeds = {node.name: asked[node.name] for node in session.get_inputs()}
        item_index, score = session.run(["item_index", "score"], feeds)
        answers[f"{path.parent.name}.{question.stem}.0"] = item_index
        answers[f"{path.parent.name}.{question.stem}.1"] = score
np.savez(sys.argv[2], **answers)
"""
N_ASKED, K = 9, 7
# The same with features of those who ask, of which every bundle says how they become inputs.
PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")
(USER_INPUTS,) = re.findall(r"<!-- deployer functions.*?-->\s*```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILLING_SCRIPT = (
    "import json\n"
    + USER_INPUTS
    + SCRIPT.replace(
        "    for question",
        """
    preparation = json.loads((path.parent / "user_features.json").read_text("utf-8"))
    people = json.loads((path.parents[1] / "people.json").read_text("utf-8"))
    told = user_inputs(preparation, people)
    for question""",
    ).replace("asked = np.load(question)", "asked = {**told, **np.load(question)}")
)
# Little training: what is learned is for other tests.
NEURAL = {"n_epochs": 1, "validation": 0.0, "n_threads": 1}
SETTINGS: dict[str, dict[str, Any]] = {"slim": {"l1": 0.1}}


def fitted(name: str) -> FittedModel:
    if name not in SETTINGS and is_neural(name):
        pytest.importorskip("torch")
        return create(name, **NEURAL).fit(block_interactions()).fitted
    return create(name, **SETTINGS.get(name, {})).fit(block_interactions()).fitted


def is_neural(name: str) -> bool:
    from recsys_core.registry import default_registry

    return default_registry().find(name).spec.factory.startswith("recsys_neural.")


def strangers() -> Histories:
    """Histories of distinct items, of all lengths from 0."""
    rng = np.random.default_rng(5)
    return Histories.from_lists([rng.permutation(block_interactions().n_items)[:n].tolist() for n in range(N_ASKED)])


def fed(histories: Histories) -> dict[str, np.ndarray[Any, Any]]:
    """Histories as a graph takes them."""
    history = histories.newest(N_ASKED)
    return {
        "user_index": np.full(len(histories), -1),
        "history": history,
        "history_weight": (history >= 0).astype(np.float32),
        "exclude": np.full((len(histories), 0), -1),
        "allow": np.zeros(0, np.int64),
        "k": np.array(K, np.int64),
    }


def questions(model: FittedModel) -> dict[str, tuple[dict[str, np.ndarray[Any, Any]], Ranking]]:
    """What is fed to the graph, and what the model itself answers, for known users and for histories."""
    feeds = fed(strangers())
    found = {}
    if model.form.accepts_users:
        users = np.arange(N_ASKED)
        found["users"] = {**feeds, "user_index": users}, model.form.rank(users, None, K)
    if model.form.accepts_histories:
        found["histories"] = feeds, model.form.rank(None, strangers(), K)
    return found


@pytest.mark.slow
def test_every_model_answers_with_onnxruntime_and_numpy_alone(bare_python: Path, tmp_path: Path) -> None:
    expected: dict[str, Ranking] = {}
    for name in list_models():
        model = fitted(name)
        (tmp_path / name).mkdir()
        export_onnx(model, tmp_path / name / "model.onnx")
        for question, (feeds, answer) in questions(model).items():
            np.savez(tmp_path / name / f"{question}.npz", **feeds)
            expected[f"{name}.{question}"] = answer
    assert {key.partition(".")[0] for key in expected} == set(list_models())
    answers = tmp_path / "answers.npz"
    command = [bare_python, "-W", "error", "-c", SCRIPT, tmp_path, answers]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    got = np.load(answers)
    for key, answer in expected.items():
        expect_same(Ranking(got[f"{key}.0"], got[f"{key}.1"]), answer, key, tolerance=1e-4, least_scale=1.0)


TOWNS, HOBBIES = ("Ulm", "Bonn", "Köln"), ("go", "tea", "cups", "rum")


def people(n: int, seed: int) -> list[dict[str, Any]]:
    """Of whom some things are known, as JSON has them; of the first one, nothing."""
    rng = np.random.default_rng(seed)
    told = [
        {
            "town": str(rng.choice(TOWNS)),
            "age": float(rng.integers(18, 80)),
            "hobbies": rng.permutation(HOBBIES)[: rng.integers(0, 4)].tolist(),
            "about": " ".join(rng.choice(["green", "tea", "cup"], rng.integers(1, 5)).tolist()),
        }
        for _ in range(n)
    ]
    return [{}] + [{name: value for name, value in person.items() if rng.random() < 0.8} for person in told[1:]]


def described_interactions() -> Interactions:
    interactions = block_interactions()
    table = pl.DataFrame(people(interactions.n_users, 1), schema=["town", "age", "hobbies", "about"])
    return interactions.with_features(user_features=table.with_columns(user_id=interactions.users.ids))


@pytest.mark.slow
def test_features_of_those_who_ask_are_read_with_onnxruntime_and_numpy_alone(
    bare_python: Path, sentence_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "ngrams": ("two_tower", {**NEURAL, "n_buckets": 100}),
        "vectors": ("two_tower", {**NEURAL, "text_model": str(sentence_model)}),
        "two_stages": ("ranker", {**NEURAL, "n_buckets": 100, "retriever": "popularity"}),
    }
    askers = people(N_ASKED, 2)
    texts = [asker.get("about") for asker in askers]
    folder, expected = tmp_path / "bundles", {}
    folder.mkdir()
    (folder / "people.json").write_text(json.dumps(askers), encoding="utf-8")
    for label, (name, options) in settings.items():
        model = create(name, text_columns=["about"], **options).fit(described_interactions()).fitted
        path = save_bundle(model, folder / label)
        for question, histories in (("described", strangers()), ("newcomers", Histories.from_lists([[]] * N_ASKED))):
            # A deployer runs the sentence-transformer, too.
            vectors = {"user_vector": SentenceModel(sentence_model).encode(texts)} if "text_model" in options else {}
            np.savez(path / f"{question}.npz", **fed(histories), **vectors)
            expected[f"{label}.{question}"] = model.recommend_indices(
                histories=histories, user_features=askers, k=K, filter_seen=False
            )
    answers = tmp_path / "answers.npz"
    done = subprocess.run(
        [bare_python, "-W", "error", "-c", FILLING_SCRIPT, folder, answers],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    got = np.load(answers)
    for key, answer in expected.items():
        expect_same(Ranking(got[f"{key}.0"], got[f"{key}.1"]), answer, key, tolerance=1e-4, least_scale=1.0)
