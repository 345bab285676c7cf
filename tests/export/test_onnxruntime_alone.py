"""Every registered model's ONNX file loads and answers where nothing but onnxruntime and numpy is installed."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_core import create, export_onnx, list_models
from recsys_core.data import Histories
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
# Little training: what is learned is for other tests.
NEURAL = {"n_epochs": 1, "validation": 0.0, "n_threads": 1}
SETTINGS: dict[str, dict[str, Any]] = {"slim": {"l1": 0.1}}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds onnxruntime, numpy and what these need."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "numpy"], check=True, timeout=600)
    for absent in ("recsys_core", "onnx", "torch", "polars", "scipy"):
        assert subprocess.run([python, "-I", "-c", f"import {absent}"], capture_output=True).returncode != 0, absent
    return python


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


def questions(model: FittedModel) -> dict[str, tuple[dict[str, np.ndarray[Any, Any]], Ranking]]:
    """What is fed to the graph, and what the model itself answers, for known users and for histories."""
    histories = strangers()
    history = histories.newest(N_ASKED)
    feeds = {
        "user_index": np.full(N_ASKED, -1),
        "history": history,
        "history_weight": (history >= 0).astype(np.float32),
        "exclude": np.full((N_ASKED, 0), -1),
        "allow": np.zeros(0, np.int64),
        "k": np.array(K, np.int64),
    }
    found = {}
    if model.form.accepts_users:
        users = np.arange(N_ASKED)
        found["users"] = {**feeds, "user_index": users}, model.form.rank(users, None, K)
    if model.form.accepts_histories:
        found["histories"] = feeds, model.form.rank(None, histories, K)
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
