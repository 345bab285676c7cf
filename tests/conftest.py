"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

# Small products: threads of BLAS and of torch that wait for each other, and for other workers, make them far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import onnx
import pytest
import scipy.sparse as sp
from form_examples import FORMS, N_ITEMS, N_USERS, make_form

from recsys_core.data import Histories, IdMap
from recsys_core.models import FittedModel

# Shared machines are slow now and then, and a landing must not depend on the draw of the day.
hypothesis.settings.register_profile("recsys_core", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("recsys_core")


@pytest.fixture(scope="session")
def histories() -> Histories:
    """Ratings 1 to 5 of 50 users over 200 items; user 3 has none."""
    rng = np.random.default_rng(0)
    ratings = (rng.random((N_USERS, N_ITEMS)) < 0.15) * rng.integers(1, 6, (N_USERS, N_ITEMS))
    ratings[3] = 0
    csr = sp.csr_matrix(ratings.astype(np.float32))
    return Histories(csr.indptr, csr.indices, csr.data)


@pytest.fixture(params=FORMS)
def fitted(request: pytest.FixtureRequest, histories: Histories) -> FittedModel:
    """A fitted model of every scoring form, with random arrays."""
    users = IdMap([f"u{i:02}" for i in range(N_USERS)])
    return FittedModel(make_form(request.param), users, IdMap(list(range(1000, 1000 + N_ITEMS))), histories)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds onnxruntime, numpy and what these need."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "numpy"], check=True, timeout=600)
    for absent in ("recsys_core", "onnx", "torch", "polars", "scipy", "pyarrow"):
        assert subprocess.run([python, "-I", "-c", f"import {absent}"], capture_output=True).returncode != 0, absent
    return python


@pytest.fixture
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of three words in any case, and a graph that looks up a row of a table for each."""
    folder = tmp_path_factory.mktemp("sentences")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "green": 1, "tea": 2, "cup": 3}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = onnx.numpy_helper.from_array(np.float32([[9, 9], [1, 0], [0, 1], [3, 4]]), "table")
    integers = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["B", "T"])
        for name in ("input_ids", "attention_mask")
    ]
    floats = onnx.helper.make_tensor_value_info("last_hidden_state", onnx.TensorProto.FLOAT, ["B", "T", 2])
    node = onnx.helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = onnx.helper.make_graph([node], "sentences", integers, [floats], [table])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    (folder / "onnx").mkdir()
    onnx.save(model, folder / "onnx" / "model.onnx")
    return folder
