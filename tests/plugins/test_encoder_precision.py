"""Encoders of fewer bits: smaller, close, and with the loss that was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from typer.testing import CliRunner

from recsys_core import Interactions, create, evaluate, runtime, save_bundle
from recsys_core.cli import app
from recsys_core.data import split_leave_last
from recsys_core.errors import ConfigError
from recsys_core.export import reduce_encoder


@pytest.fixture(scope="module")
def split():
    start = np.random.default_rng(0).integers(0, 40, 150)
    items = (start[:, None] + np.arange(6)) % 40
    times = np.tile(np.arange(6), 150)
    return split_leave_last(Interactions.from_arrays(np.repeat(np.arange(150), 6), items.ravel(), datetimes=times))


@pytest.fixture(scope="module")
def model(split):
    settings = {"n_factors": 32, "n_blocks": 1, "max_length": 8, "n_epochs": 15, "learning_rate": 0.01}
    return create("sasrec", batch_size=32, validation=0, n_threads=1, **settings).fit(split.train)


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.6), ("int8", 0.5)])
def test_it_is_smaller_and_close_and_says_what_it_costs(model, split, precision, share, tmp_path) -> None:
    reduced = reduce_encoder(model, precision, split)
    assert reduced.n_bytes_after == len(reduced.fitted.form.encoder.graph) < share * reduced.n_bytes_before
    tolerance = reduced.fitted.form.encoder.tolerance
    assert 0 < reduced.query_difference < tolerance
    for value, each in ((reduced.before, model), (reduced.after, reduced.fitted)):
        assert value == evaluate(each, split, k=[10], metrics=["ndcg"]).values["ndcg@10"]
    assert reduced.loss == reduced.before - reduced.after < 0.05 < reduced.before
    assert f"{reduced.before:.4f} -> {reduced.after:.4f}" in str(reduced)

    path = save_bundle(reduced, tmp_path / "bundle")
    recorded = json.loads((path / "manifest.json").read_text())["encoder"]
    assert recorded == json.loads(json.dumps(reduced.to_dict()))
    assert recorded["precision"] == precision
    users = split.train.users.ids.to_list()[:20]
    served = runtime.load(path).recommend(users, k=1)["item_id"].to_list()
    whole = model.recommend(users, k=1)["item_id"].to_list()
    assert np.mean([one == other for one, other in zip(served, whole, strict=True)]) >= 0.9

    # Whoever saves what was loaded again needs to know nothing about it.
    again = json.loads((save_bundle(runtime.load(path), tmp_path / "again") / "manifest.json").read_text())
    assert again["parity"]["tolerance"] == tolerance
    command = ["forget", str(path), str(tmp_path / "fewer"), "--user", str(users[0])]
    assert CliRunner().invoke(app, command).exit_code == 0
    manifest = json.loads((tmp_path / "fewer" / "manifest.json").read_text())
    assert manifest["encoder"] == recorded
    assert manifest["parity"]["tolerance"] == tolerance


def test_the_model_itself_stays_as_it_was(model, split) -> None:
    graph = model.form.encoder.graph
    reduce_encoder(model, "int8", split)
    assert model.form.encoder.graph is graph


def test_what_cannot_be_reduced_says_why(model, split) -> None:
    with pytest.raises(ConfigError, match="expected one of float16, int8, got 'int4'"):
        reduce_encoder(model, "int4", split)
    with pytest.raises(ConfigError, match="expected a model that encodes histories, got a form 'static'"):
        reduce_encoder(create("popularity").fit(split.train), "int8", split)
