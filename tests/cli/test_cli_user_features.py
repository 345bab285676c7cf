"""Recommending and explaining by what is known of people: a file of features beside histories, or alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from form_examples import N_ITEMS, make_form

from recsys_core import runtime, save_bundle
from recsys_core.data import Histories, IdMap
from recsys_core.models import FittedModel


@pytest.fixture
def club(tmp_path: Path) -> Path:
    """A bundle of a model that reads a town, an age and a text of those who ask."""
    items = IdMap(list(range(N_ITEMS)))
    rows = Histories.from_lists([[1, 2], [3]])
    form = make_form("two_stage_described")
    return save_bundle(FittedModel(form, IdMap(["ann", "bob"]), items, rows), tmp_path / "club")


def people(folder: Path, text: str) -> Path:
    path = folder / "people.csv"
    path.write_text(text)
    return path


def test_features_stand_beside_histories_in_their_order(recsys, club: Path, tmp_path: Path) -> None:
    file = people(tmp_path, "town,age\nulm,30\n,50.5\n")
    asked = ("recommend", club, "--history", "1,2", "--history", "", "--user-features", file, "--k", "3")
    report = recsys(*asked, "--json").json
    expected = runtime.load(club).recommend(
        histories=[[1, 2], []], user_features=[{"town": "ulm", "age": 30}, {"age": 50.5}], k=3
    )
    assert [row["item_id"] for row in report["recommendations"]] == expected["item_id"].to_list()
    assert report["asked_by"] == "history"
    assert "For history 1,2" in recsys(*asked).stdout


def test_features_alone_name_their_people(recsys, club: Path, tmp_path: Path) -> None:
    file = people(tmp_path, "user_id,town,age\ncat,ulm,\ndan,,\n")
    asked = ("recommend", club, "--user-features", file, "--k", "2")
    report = recsys(*asked, "--json").json
    assert report["asked_by"] == "user_features"
    assert [row["user_id"] for row in report["recommendations"]] == ["cat", "cat"]
    outcome = recsys(*asked)
    assert "For user cat" in outcome.stdout
    assert "Nothing for user 'dan'" in outcome.stderr
    table = pl.read_csv(file).drop("user_id")
    table.write_csv(file)
    assert "For row 1" in recsys(*asked).stdout


def test_explaining_reads_the_same_file(recsys, club: Path, tmp_path: Path) -> None:
    file = people(tmp_path, "town,age\nulm,30\n")
    asked = ("explain", club, "--history", "1,2", "--k", "2")
    report = recsys(*asked, "--user-features", file, "--json").json
    expected = runtime.load(club).explain(histories=[[1, 2]], user_features={"town": "ulm", "age": 30}, k=2)
    assert report["explanations"] == [pytest.approx(row) for row in expected.drop("user_id").to_dicts()]
    assert report["explanations"] != recsys(*asked, "--json").json["explanations"]


def test_features_alone_are_no_reasons(recsys, club: Path, tmp_path: Path) -> None:
    file = people(tmp_path, "user_id,town,age\ncat,ulm,\ndan,,20\n")
    assert "Nothing to explain" in recsys("explain", club, "--user-features", file).stderr


@pytest.mark.parametrize("name", ["recommend", "explain"])
@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        ("twon\nulm\n", (), 3, "did you mean 'town'"),
        ("town\nulm\n", ("--user", "ann"), 2, "--user-features: expected --history beside it, or nothing, got --user"),
        ("town\nulm\nulm\n", ("--history", "1"), 3, "a row for each of 1 histories, got 2 rows"),
        ("age\nold\n", (), 3, r"user_features['age']: expected numbers"),
    ],
)
def test_faults_are_one_line(recsys, club: Path, tmp_path: Path, name, text, options, code, message) -> None:
    outcome = recsys(name, club, "--user-features", people(tmp_path, text), *options, code=code)
    assert message in " ".join(outcome.stderr.split())


@pytest.mark.parametrize("name", ["recommend", "explain"])
def test_a_model_that_reads_none_says_so(recsys, bundle: Path, tmp_path: Path, name: str) -> None:
    outcome = recsys(name, bundle, "--user-features", people(tmp_path, "town\nulm\n"), code=3)
    assert "expected a model that reads features of users when it is asked, got ease" in " ".join(
        outcome.stderr.split()
    )
