"""From data to recommendations: ``fit``, ``evaluate``, ``compare``, ``recommend``, ``export``."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_core import Interactions, create, evaluate, runtime
from recsys_core.data import Split, split_leave_last


def read(ratings: pl.DataFrame) -> Interactions:
    columns = {"user_id": "person", "item_id": "film", "weight": "stars", "datetime": "when"}
    return Interactions.from_frame(ratings, columns=columns)


def test_fit_writes_a_bundle(recsys, data: tuple[str, ...], ratings: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "als"
    outcome = recsys("fit", "als", *data, "--set", "model.n_factors=4", "-o", path, "--json")
    report = outcome.json
    assert report["bundle"] == str(path)
    assert report["model"]["config"]["n_factors"] == 4
    assert report["data"] == {
        "source": data[1],
        "n_events": len(ratings),
        "n_users": ratings["person"].n_unique(),
        "n_items": ratings["film"].n_unique(),
    }
    assert 0 <= report["parity"]["max_error"] <= report["parity"]["tolerance"]
    model = runtime.load(path)
    assert model.manifest["model"]["name"] == "als"
    expected = create("als", n_factors=4).fit(read(ratings)).recommend([7], k=3)
    assert model.recommend([7], k=3)["item_id"].to_list() == expected["item_id"].to_list()


def test_fit_prints_where_it_saved(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    outcome = recsys("fit", "popularity", *data, "--output", tmp_path / "b")
    assert "b" in outcome.stdout
    assert "recsys recommend" in outcome.stderr
    quiet = recsys("fit", "popularity", *data, "--output", tmp_path / "c", "--quiet")
    assert quiet.stderr == ""


def test_fit_does_not_overwrite_unasked(recsys, data: tuple[str, ...], bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    assert "--overwrite" in recsys("fit", "popularity", *data, "-o", bundle, code=2).stderr
    assert (bundle / "manifest.json").read_bytes() == before
    recsys("fit", "popularity", *data, "-o", bundle, "--overwrite")
    assert json.loads((bundle / "manifest.json").read_text())["model"]["name"] == "popularity"


@pytest.mark.filterwarnings("ignore:als. all item factors are next to zero")
def test_a_model_that_collapsed_is_told_from_a_poor_one(recsys, data: tuple[str, ...]) -> None:
    collapsed = ("--set", "models.als.regularization=1e6")
    told = recsys("compare", "popularity", "als", *data, *collapsed).stderr
    assert re.search(r"als: (\d+) of \1 users got an empty list, or one whose items all have one score", told)
    assert "popularity: " not in told.replace("popularity: fitted", "")
    told = recsys("evaluate", "als", *data, "--set", "model.regularization=1e6").stderr
    assert "users got an empty list" in told


def test_fit_from_a_run_file_with_default_output(
    recsys, data: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text(
        f"""
[data]
path = "{data[1]}"
columns = {{ user_id = "person", item_id = "film", datetime = "when" }}
[model]
name = "popularity"
by = "events"
""",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    report = recsys("fit", "--config", "run.toml", "--json").json
    assert report["bundle"] == "runs/popularity"
    assert report["model"]["config"]["by"] == "events"


def test_an_unmapped_column_is_a_warning(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    columns = "user_id=person,item_id=film,datetime=when"
    outcome = recsys("fit", "popularity", "--path", data[1], "--columns", columns, "-o", tmp_path / "b", "--json")
    assert "warning: weight" in outcome.stderr
    assert outcome.json["bundle"]


def test_evaluate_a_model(recsys, data: tuple[str, ...], ratings: pl.DataFrame) -> None:
    options = ("--split", "leave_last", "--k", "3", "--k", "5", "--metric", "ndcg", "--metric", "coverage")
    report = recsys("evaluate", "ease", *data, *options, "--json").json
    split = split_leave_last(read(ratings))
    expected = evaluate(create("ease").fit(split.train), split, k=(3, 5), metrics=("ndcg", "coverage"))
    assert report["values"] == pytest.approx(dict(expected.values))
    assert report["split"] == {"method": "leave_last", "n": 1}
    rows = {row["metric"]: row for row in report["metrics"]}
    assert rows["ndcg@3"]["low"] <= rows["ndcg@3"]["value"] <= rows["ndcg@3"]["high"]
    assert rows["coverage@3"]["low"] is None
    text = recsys("evaluate", "ease", *data, *options).stdout
    assert f"{expected.values['ndcg@3']:.4f}" in text


def test_evaluate_a_bundle_on_held_out_data(
    recsys, data: tuple[str, ...], ratings: pl.DataFrame, tmp_path: Path
) -> None:
    recsys("data", "split", *data, "--split", "leave_last", "-o", tmp_path)
    train, test = (tmp_path / f"{name}.parquet" for name in ("train", "test"))
    recsys("fit", "ease", "--path", train, "-o", tmp_path / "ease")
    report = recsys("evaluate", tmp_path / "ease", "--path", test, "--json").json
    parts = Interactions.read(train), Interactions.read(test)
    expected = evaluate(create("ease").fit(parts[0]), Split(*parts))
    assert report["values"] == pytest.approx(dict(expected.values))
    assert report["bundle"] == str(tmp_path / "ease")
    assert "--split" in recsys("evaluate", tmp_path / "ease", "--path", test, "--split", "random", code=2).stderr


def test_evaluate_tells_what_cannot_be_hit(recsys, tmp_path: Path) -> None:
    train = pl.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [1, 2, 2, 3, 4]})
    test = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 3, 9]})
    for name, part in {"train": train, "test": test}.items():
        part.write_parquet(tmp_path / f"{name}.parquet")
    recsys("fit", "popularity", "--path", tmp_path / "train.parquet", "-o", tmp_path / "b")
    told = recsys("evaluate", tmp_path / "b", "--path", tmp_path / "test.parquet").stderr
    assert "1 relevant items are unknown to the model" in told
    assert "1 relevant items were left out of the lists, since the user had them before" in told
    told = recsys(
        "evaluate", tmp_path / "b", "--path", tmp_path / "test.parquet", "--set", "evaluate.filter_seen=false"
    ).stderr
    assert "left out of the lists" not in told


def test_evaluate_and_split_tell_of_histories_unknown_to_the_model(recsys, tmp_path: Path) -> None:
    # Each of 10 users has an item of their own, then items that all have.
    items = [[100 + user, 0, 1, 2] for user in range(10)]
    path = tmp_path / "t.parquet"
    pl.DataFrame({"user_id": np.repeat(range(10), 4), "item_id": np.ravel(items)}).write_parquet(path)
    options = ("--split", "users", "--set", "split.history_fraction=0.5")
    told = recsys("data", "split", "--path", path, *options, "-o", tmp_path).stderr
    assert "2 of 4 events of the histories are of items that are not in train" in told
    told = recsys("evaluate", "popularity", "--path", path, *options).stderr
    assert "2 events of the histories are of items unknown to the model" in told


def test_evaluate_rejects_unknown_metrics(recsys, data: tuple[str, ...]) -> None:
    assert "did you mean 'ndcg'" in recsys("evaluate", "popularity", *data, "--metric", "ndgc", code=2).stderr


def test_compare_ranks_best_first(recsys, data: tuple[str, ...]) -> None:
    options = ("--split", "random", "--metric", "recall", "--metric", "ndcg", "--k", "5")
    report = recsys("compare", "popularity", "ease", *data, *options, "--json").json
    assert report["leading_metric"] == "recall@5"
    values = [model["evaluation"]["values"]["recall@5"] for model in report["models"]]
    assert values == sorted(values, reverse=True)
    # The data has two tastes, which popularity cannot tell apart.
    assert report["models"][0]["label"] == "ease"
    assert report["paired"]["model_a"] == "ease"
    assert report["paired"]["differences"][0]["verdict"] == "a"
    outcome = recsys("compare", "popularity", "ease", *data, *options)
    lines = outcome.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] in (["ease"], ["popularity"])][:2] == [
        "ease",
        "popularity",
    ]
    assert "ease beats popularity on recall@5" in outcome.stdout


def test_compare_puts_the_lowest_first_where_lower_is_better(recsys, data: tuple[str, ...]) -> None:
    report = recsys("compare", "popularity", "ease", *data, "--metric", "mean_popularity", "--json").json
    values = [model["evaluation"]["values"]["mean_popularity@10"] for model in report["models"]]
    higher = report["models"][0]["evaluation"]["higher_is_better"]["mean_popularity@10"]
    assert values == sorted(values, reverse=higher)


def test_compare_variants_of_one_model(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[models.small]\nname = 'als'\nn_factors = 2\n[models.large]\nname = 'als'\nn_factors = 8\n")
    report = recsys("compare", *data, "--config", config, "--set", "models.large.n_iterations=3", "--json").json
    settings = {model["label"]: model["settings"] for model in report["models"]}
    assert (settings["small"]["n_factors"], settings["large"]["n_factors"]) == (2, 8)
    assert settings["large"]["n_iterations"] == 3
    assert recsys("compare", *data, code=2).stderr.startswith("error: models: expected names")


def test_compare_checks_all_settings_before_fitting(
    recsys, data: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_core.models import Recommender

    monkeypatch.setattr(Recommender, "fit", lambda *_, **__: pytest.fail("fitted"))
    recsys("compare", "popularity", "als", *data, "--set", "models.als.n_factors=0", code=2)


def test_compare_needs_a_metric_to_order_by(recsys, data: tuple[str, ...]) -> None:
    assert "ndcg" in recsys("compare", "popularity", "ease", *data, "--metric", "coverage", code=2).stderr


def test_recommend_to_users(recsys, bundle: Path) -> None:
    report = recsys("recommend", bundle, "--user", "4", "--user", "7", "--k", "3", "--json").json
    rows = pl.DataFrame(report["recommendations"])
    expected = runtime.load(bundle).recommend([4, 7], k=3)
    assert rows["user_id"].to_list() == expected["user_id"].to_list()
    assert rows["item_id"].to_list() == expected["item_id"].to_list()
    assert rows["rank"].to_list() == [1, 2, 3] * 2
    assert rows["title"].to_list() == [f"Film {item}" for item in expected["item_id"]]
    text = recsys("recommend", bundle, "--user", "4").stdout
    assert "For user 4" in text
    assert "Film 1" in text


def test_recommend_to_histories(recsys, bundle: Path) -> None:
    report = recsys("recommend", bundle, "--history", "100,104", "--history", "101", "--k", "4", "--json").json
    expected = runtime.load(bundle).recommend(histories=[[100, 104], [101]], k=4)
    assert [row["item_id"] for row in report["recommendations"]] == expected["item_id"].to_list()
    assert report["asked_by"] == "history"
    assert "For history 100,104" in recsys("recommend", bundle, "--history", "100,104").stdout


def test_recommend_backends_agree(recsys, bundle: Path) -> None:
    onnx, core = (
        recsys("recommend", bundle, "--user", "4", "--backend", backend, "--json").json["recommendations"]
        for backend in ("onnx", "core")
    )
    assert [row["item_id"] for row in onnx] == [row["item_id"] for row in core]
    assert np.allclose([row["score"] for row in onnx], [row["score"] for row in core], atol=1e-5)


def test_recommend_filters(recsys, bundle: Path) -> None:
    def items(*options: str) -> list[int]:
        rows = recsys("recommend", bundle, "--user", "4", "--k", "30", *options, "--json").json["recommendations"]
        return [row["item_id"] for row in rows]

    seen = set(items("--keep-seen")) - set(items())
    assert seen
    allowed = sorted(items())[:3]
    assert sorted(items("--allow", ",".join(map(str, allowed)))) == allowed
    assert set(items("--deny", ",".join(map(str, allowed)))) == set(items()) - set(allowed)


def test_recommend_chooses_features(recsys, bundle: Path) -> None:
    [first, *_] = recsys("recommend", bundle, "--user", "4", "--feature", "year", "--json").json["recommendations"]
    assert list(first) == ["user_id", "rank", "item_id", "score", "year"]
    assert "title, year" in recsys("recommend", bundle, "--user", "4", "--feature", "genre", code=2).stderr


def test_recommend_unknown_ids(recsys, bundle: Path) -> None:
    assert "unknown user" in recsys("recommend", bundle, "--user", "999", code=3).stderr
    assert "unknown item" in recsys("recommend", bundle, "--history", "999", code=3).stderr
    assert "int64" in recsys("recommend", bundle, "--user", "ann", code=3).stderr
    outcome = recsys("recommend", bundle, "--user", "999", "--on-unknown", "fallback", "--k", "2", "--json")
    assert len(outcome.json["recommendations"]) == 2
    outcome = recsys("recommend", bundle, "--user", "999", "--user", "4", "--on-unknown", "ignore", "--json")
    assert {row["user_id"] for row in outcome.json["recommendations"]} == {4}


def test_recommend_needs_one_kind_of_query(recsys, bundle: Path) -> None:
    assert "got neither" in recsys("recommend", bundle, code=2).stderr
    assert "got both" in recsys("recommend", bundle, "--user", "1", "--history", "100", code=2).stderr


@pytest.mark.parametrize(
    ("users", "asked"),
    [(["007", "007", "8"], "007"), ([dt.date(2020, 1, 2)] * 2 + [dt.date(2021, 1, 1)], "2020-01-02")],
)
def test_recommend_reads_ids_of_any_type(recsys, tmp_path: Path, users: list[Any], asked: str) -> None:
    frame = pl.DataFrame({"user_id": users, "item_id": ["a", "b", "c"]})
    frame.write_parquet(tmp_path / "x.parquet")
    recsys("fit", "popularity", "--path", tmp_path / "x.parquet", "-o", tmp_path / "b")
    rows = recsys("recommend", tmp_path / "b", "--user", asked, "--json").json["recommendations"]
    assert [(row["user_id"], row["item_id"]) for row in rows] == [(asked, "c")]


def test_recommend_reads_ids_with_commas(recsys, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": ["a,b", "c", "c", "d"]})
    frame.write_parquet(tmp_path / "x.parquet")
    recsys("fit", "ease", "--path", tmp_path / "x.parquet", "-o", tmp_path / "b")
    listed = ("--history", '"a,b", c', "--allow", 'd,"a,b"', "--json")
    rows = recsys("recommend", tmp_path / "b", *listed).json["recommendations"]
    assert [row["item_id"] for row in rows] == ["d"]


def test_fit_can_write_the_index(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    recsys("fit", "als", *data, "--set", "model.n_factors=4", "-o", tmp_path / "plain")
    recsys("fit", "als", *data, "--set", "model.n_factors=4", "-o", tmp_path / "indexed", "--with-index")
    parts = [{path.name for path in (tmp_path / name).iterdir()} for name in ("plain", "indexed")]
    assert len(parts[1] - parts[0]) == 1
    answers = [
        recsys("recommend", tmp_path / name, "--user", "7", "--backend", "core", "--json").json["recommendations"]
        for name in ("plain", "indexed")
    ]
    assert answers[0] == answers[1]


def test_export(recsys, bundle: Path, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    report = recsys("export", bundle, path, "--json").json
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [tensor["name"] for tensor in report["inputs"]] == [value.name for value in session.get_inputs()]
    assert report["outputs"] == [
        {"name": "item_index", "type": "int64", "shape": ["batch", "k"]},
        {"name": "score", "type": "float32", "shape": ["batch", "k"]},
    ]
    assert report["parity"]["max_error"] <= report["parity"]["tolerance"]
    assert report["bytes"] == path.stat().st_size
    assert "--overwrite" in recsys("export", bundle, path, code=2).stderr
    text = recsys("export", bundle, path, "--overwrite").stdout
    assert "ONNX gives the model's answers" in text
    assert "history" in text


def test_export_with_k_inside(recsys, bundle: Path, tmp_path: Path) -> None:
    report = recsys("export", bundle, tmp_path / "model.onnx", "--k", "7", "--json").json
    assert "k" not in [tensor["name"] for tensor in report["inputs"]]
    assert recsys("export", bundle, tmp_path / "no" / "model.onnx", code=2).stderr.startswith("error: OUTPUT")


def test_ratings_are_measured(recsys, data: tuple[str, ...]) -> None:
    options = ("--split", "random", "--metric", "rmse", "--metric", "mae")
    report = recsys("evaluate", "explicit_mf", *data, *options, "--json").json
    assert 0 < report["values"]["mae"] <= report["values"]["rmse"] < 4
    told = recsys("evaluate", "explicit_mf", *data, *options).stderr
    assert f"Scores were taken for predicted ratings of {report['n_predicted']:,} of the relevant items." in told
    assert f"mean has an rmse of {report['predicted_deviation']:.4f}" in told
    compared = recsys(
        "compare", "explicit_mf", "flat", *data, *options, "--set", "models.flat.name=explicit_mf",
        "--set", "models.flat.regularization=1000", "--json",
    ).json  # fmt: skip
    assert compared["leading_metric"] == "rmse"
    errors = [model["evaluation"]["values"]["rmse"] for model in compared["models"]]
    assert errors == sorted(errors)
    assert compared["paired"] is None
    assert "rmse" in recsys("compare", "explicit_mf", *data, *options).stdout


def test_a_history_that_tells_nothing_gets_nothing_and_is_mentioned(recsys, data: tuple[str, ...], tmp_path) -> None:
    recsys("fit", "ease", *data, "-o", tmp_path / "b")
    for backend in ("onnx", "core"):
        outcome = recsys("recommend", tmp_path / "b", "--history", "", "--backend", backend)
        assert "Nothing to recommend" in outcome.stderr
        assert "--on-unknown fallback" in outcome.stderr
        outcome = recsys("recommend", tmp_path / "b", "--history", "", "--history", "100", "--backend", backend)
        assert "Nothing for history ''" in outcome.stderr
        assert "For history 100" in outcome.stdout
    popular = recsys("recommend", tmp_path / "b", "--history", "", "--on-unknown", "fallback", "--k", "3", "--json")
    assert len(popular.json["recommendations"]) == 3


def test_a_separator(recsys, ratings: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    ratings = ratings.rename({"person": "user_id", "film": "item_id", "stars": "weight", "when": "datetime"})
    ratings.write_csv(path, separator=";")
    assert "pass --separator ','" in recsys("data", "audit", "--path", path, code=2).stderr
    assert "pass --separator ';'" in recsys("data", "audit", "--path", path, "--separator", ",", code=3).stdout
    for command in (("data", "audit"), ("evaluate", "popularity"), ("compare", "popularity")):
        recsys(*command, "--path", path, "--separator", ";")
    ratings.write_csv(path, separator="\t")
    recsys("data", "audit", "--path", path, "--separator", "tab")
    option = 'data.options.separator=";"'
    assert "--separator" in recsys("data", "audit", "--path", path, "--set", option, code=2).stderr
    assert "none for a data set" in recsys("data", "audit", "--dataset", "ml-100k", "--separator", ";", code=2).stderr
