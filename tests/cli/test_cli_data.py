"""``recsys data``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from recsys_core.cli.output import Output
from recsys_core.cli.sources import load_dataset
from recsys_core.data import Interactions
from recsys_core.registry import DatasetSpec, PluginRecord, Registry, default_registry


def test_audit_describes_good_data(recsys, ratings: pl.DataFrame, ratings_csv: Path) -> None:
    columns = "user_id=person,item_id=film,weight=stars,datetime=when"
    report = recsys("data", "audit", "--path", ratings_csv, "--columns", columns, "--json").json
    assert report["ok"] is True
    assert report["n_events"] == len(ratings)
    assert report["n_users"] == ratings["person"].n_unique()
    assert report["first_time"].startswith("2017-07-14")
    text = recsys("data", "audit", "--path", ratings_csv, "--columns", columns).stdout
    assert str(len(ratings)) in text
    assert "events per user" in text


def test_audit_lists_every_fault_and_fails(recsys, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user_id,item_id,weight\n1,2,-3\n,2,1\n", "utf-8")
    outcome = recsys("data", "audit", "--path", tmp_path / "bad.csv", "--json", code=3)
    assert [finding["check"] for finding in outcome.json["findings"][:2]] == ["null-ids", "negative-weights"]
    assert outcome.json["ok"] is False
    text = recsys("data", "audit", "--path", tmp_path / "bad.csv", code=3).stdout
    assert text.count("error:") == 2


def test_audit_names_the_column_that_is_missing(recsys, ratings_csv: Path) -> None:
    outcome = recsys("data", "audit", "--path", ratings_csv, code=3)
    assert "user_id" in outcome.stdout
    assert "'person'" in outcome.stdout


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ((), {"train", "test"}),
        (("--split", "leave_last", "--set", "split.n=2"), {"train", "test"}),
        (("--split", "random", "--set", "split.random_state=3"), {"train", "test"}),
        (("--split", "users"), {"train", "test", "history"}),
    ],
)
def test_split_writes_a_partition(
    recsys, data: tuple[str, ...], ratings: pl.DataFrame, tmp_path: Path, options: tuple[str, ...], parts: set[str]
) -> None:
    outcome = recsys("data", "split", *data, *options, "--output", tmp_path / "parts", "--json")
    assert {part["part"] for part in outcome.json["parts"]} == parts
    assert {path.stem for path in (tmp_path / "parts").iterdir()} == parts
    frames = [pl.read_parquet(part["file"]) for part in outcome.json["parts"]]
    assert [len(frame) for frame in frames] == [part["events"] for part in outcome.json["parts"]]
    together = pl.concat(frames).select("user_id", "item_id", "weight").sort("user_id", "item_id")
    expected = ratings.select(user_id="person", item_id="film", weight=pl.col("stars").cast(pl.Float32))
    assert together.equals(expected.sort("user_id", "item_id"))


def test_split_by_time_can_be_read_again(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    recsys("data", "split", *data, "--set", "split.test_fraction=0.25", "--output", tmp_path)
    train, test = (Interactions.read(tmp_path / f"{name}.parquet") for name in ("train", "test"))
    assert train.datetime is not None
    assert test.datetime is not None
    assert train.datetime.max() < test.datetime.min()
    assert len(test) / (len(train) + len(test)) == pytest.approx(0.25, abs=0.01)


def test_split_does_not_overwrite_unasked(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    command = ("data", "split", *data, "--output", tmp_path)
    recsys(*command)
    written = (tmp_path / "train.parquet").read_bytes()
    assert "--overwrite" in recsys(*command, "--split", "leave_last", code=2).stderr
    assert (tmp_path / "train.parquet").read_bytes() == written
    recsys(*command, "--split", "leave_last", "--overwrite")
    assert (tmp_path / "train.parquet").read_bytes() != written


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, ratings: pl.DataFrame) -> list[dict[str, Any]]:
    """A registered data set ``toy`` with a loader that has progress; the list of how it was called."""
    calls = []

    def load(*, progress: bool = False, **options: Any) -> Interactions:
        calls.append({"progress": progress, **options})
        return Interactions.from_arrays(ratings["person"], ratings["film"], source="a far place")

    spec = DatasetSpec("toy", "toy_module:load")
    monkeypatch.setitem(sys.modules, "toy_module", SimpleNamespace(load=load))
    registry = Registry([])
    registry.plugins = [*default_registry().plugins, PluginRecord("toy", "toy", "1", "toy", "loaded", (spec,))]
    monkeypatch.setattr("recsys_core.registry.default_registry", lambda: registry)
    return calls


@pytest.mark.parametrize(
    "command",
    [
        ("fit", "popularity", "--output", "b"),
        ("evaluate", "popularity", "--split", "leave_last"),
        ("compare", "popularity", "ease", "--split", "leave_last"),
        ("data", "audit"),
        ("data", "split", "--split", "random"),
    ],
    ids=" ".join,
)
def test_where_a_data_set_came_from_is_the_first_thing_told(
    recsys, dataset: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recsys(*command, "--dataset", "toy").stderr.startswith("toy: from a far place\n")
    assert dataset == [{"progress": False}]


@pytest.mark.parametrize(("quiet", "options"), [(False, {}), (True, {}), (False, {"progress": False})])
def test_a_loader_shows_progress_to_a_person_only(
    dataset: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, quiet: bool, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    load_dataset(Output(quiet=quiet), "toy", options)
    assert dataset == [{"progress": not quiet and not options}]


def test_a_loader_need_not_have_progress(dataset: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("toy_module.load", lambda: Interactions.from_arrays([1], [2]), raising=True)
    assert len(load_dataset(Output(), "toy", {})) == 1
    assert dataset == []
