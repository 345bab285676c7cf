"""Re-rankers and groups of users on the command line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_core import create_reranker, runtime


@pytest.fixture
def people_csv(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    pl.DataFrame({"person": range(40), "town": ["Bern", "Genf"] * 20}).write_csv(path)
    return path


def test_values_by_groups(recsys, data, people_csv: Path) -> None:
    described = ("--set", f"data.user_features={people_csv}")
    outcome = recsys("evaluate", "ease", *data, *described, "--metric", "ndcg", "--by", "town", "--by", "activity")
    assert "By town" in outcome.stdout
    assert "Genf" in outcome.stdout
    assert "By activity" in outcome.stdout
    report = recsys("evaluate", "ease", *data, *described, "--metric", "ndcg", "--by", "town", "--json").json
    [groups] = report["groups"]
    assert [row["group"] for row in groups["values"]] == ["Bern", "Genf"]
    assert sum(row["n_users"] for row in groups["values"]) == report["n_users"]


def test_a_feature_that_is_not_there(recsys, data) -> None:
    words = "--by: expected activity or a feature of the users (the data has none), got 'town'"
    assert words in " ".join(recsys("evaluate", "ease", *data, "--by", "town", code=2).stderr.split())


def test_a_reranker_is_measured(recsys, data) -> None:
    asked = ("evaluate", "ease", *data, "--metric", "miscalibration", "--json")
    plain = recsys(*asked).json["values"]["miscalibration@10"]
    fair = recsys(*asked, "--reranker", "calibrated,trade_off=0.9,n_candidates=30").json["values"]["miscalibration@10"]
    assert fair < plain


def test_a_reranker_recommends(recsys, bundle: Path) -> None:
    report = recsys("recommend", bundle, "--user", 4, "--k", 3, "--reranker", "mmr,trade_off=0.1", "--json").json
    expected = runtime.load(bundle).reranked(create_reranker("mmr", trade_off=0.1)).recommend(4, k=3)
    assert [row["item_id"] for row in report["recommendations"]] == expected["item_id"].to_list()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("mmr,trade_off", 2, "--reranker: expected NAME,KEY=VALUE,... such as mmr,trade_off=0.5"),
        ("mmr,size=3", 2, "Mmr has no setting 'size'"),
        ("mrr", 4, "did you mean 'mmr'"),
    ],
)
def test_a_reranker_that_is_wrong(recsys, bundle: Path, text: str, code: int, words: str) -> None:
    outcome = recsys("recommend", bundle, "--user", 4, "--reranker", text, code=code)
    assert words in " ".join(outcome.stderr.split())
