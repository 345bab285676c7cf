"""A loaded bundle answers as the model did that was saved."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from recsys_core import runtime
from recsys_core.bundle import save_bundle
from recsys_core.errors import ConfigError, DataError, UnknownIdError
from recsys_core.models import FittedModel


@pytest.fixture(params=["onnx", "core"])
def loaded(fitted: FittedModel, tmp_path, request) -> runtime.Runtime:
    return runtime.load(save_bundle(fitted, tmp_path / "demo"), backend=request.param)


def assert_same_answers(ours: pl.DataFrame, model: pl.DataFrame) -> None:
    assert ours.columns == model.columns == ["user_id", "item_id", "score", "rank"]
    assert ours["user_id"].equals(model["user_id"])
    assert ours["rank"].equals(model["rank"])
    scale = max(1.0, float(model["score"].abs().max() or 0))
    np.testing.assert_allclose(ours["score"], model["score"], rtol=0, atol=1e-4 * scale)
    # Random scores: two within the tolerance of each other are rare.
    assert (ours["item_id"] == model["item_id"]).mean() > 0.95


@pytest.mark.parametrize("filter_seen", [True, False])
def test_known_users(fitted: FittedModel, loaded: runtime.Runtime, filter_seen: bool) -> None:
    for users in ("u07", ["u00", "u03", "u49"]):
        options = {"k": 8, "filter_seen": filter_seen, "deny": [1005, 1006, "nonsense"][:2], "allow": None}
        assert_same_answers(loaded.recommend(users, **options), fitted.recommend(users, **options))


def test_histories(fitted: FittedModel, loaded: runtime.Runtime) -> None:
    if not fitted.form.accepts_histories:
        with pytest.raises(DataError, match="users it was trained on"):
            loaded.recommend(histories=[[1001]])
        return
    asked = [[1001, 1002], [], [1199, 1000, 1001, 1050]]
    assert_same_answers(loaded.recommend(histories=asked), fitted.recommend(histories=asked))
    table = pl.DataFrame({"user_id": ["x", "x", "y"], "item_id": [1001, 1002, 1001], "weight": [5.0, 1.0, 2.0]})
    assert_same_answers(loaded.recommend(histories=table), fitted.recommend(histories=table))


def test_all_users_by_index(fitted: FittedModel, loaded: runtime.Runtime) -> None:
    users = np.arange(50)
    ours, model = loaded.recommend_indices(users, k=5), fitted.recommend_indices(users, k=5)
    np.testing.assert_allclose(ours.scores, model.scores, rtol=1e-4, atol=1e-3)
    seen = fitted.histories.to_csr(200).toarray() > 0
    for user in users:
        assert not seen[user, ours.indices[user][ours.indices[user] >= 0]].any()


def test_unknown_users(loaded: runtime.Runtime) -> None:
    with pytest.raises(UnknownIdError, match="'who'"):
        loaded.recommend(["u01", "who"])
    fallback = loaded.recommend(["u01", "who"], k=3, on_unknown="fallback")
    assert fallback["user_id"].to_list() == ["u01"] * 3 + ["who"] * 3
    counts = loaded.histories.to_csr(200).getnnz(axis=0)
    assert fallback["item_id"][3] == 1000 + int(np.argmax(counts))


def test_an_unknown_backend_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="'onnx' or 'core'"):
        runtime.load(tmp_path, backend="abacus")


def test_running_a_bundle_imports_no_plugin_and_no_training_package(fitted: FittedModel, tmp_path) -> None:
    path = save_bundle(fitted, tmp_path / "demo")
    script = (
        "import sys; from recsys_core import runtime; "
        f"runtime.load({str(path)!r}).recommend('u01'); "
        "absent = ('torch', 'recsys_classic', 'recsys_datasets', 'recsys_neural', 'pandas', 'pluggy'); "
        "print([name for name in absent if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
