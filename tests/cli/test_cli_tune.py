"""``recsys tune``, and the run file that it writes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from recsys_core.cli.run_config import read_run_config
from recsys_core.cli.run_file import run_file


def test_tune_writes_settings_that_other_commands_take(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    command = ("tune", "item_knn", *data, "--split", "random", "--trials", "6", "--k", "5", "-o", folder)
    report = recsys(*command, "--json", "--set", "model.binary=true").json
    assert sorted(path.name for path in folder.iterdir()) == ["best.toml", "report.html", "study.db"]
    assert report["metric"] == "ndcg@5"
    assert report["n_trials"] == {"complete": 6}
    assert report["validation"]["method"] == "random"
    assert len(report["trials"]) == 6
    assert report["best"]["value"] == max(trial["value"] for trial in report["trials"])
    assert report["settings"]["binary"] is True
    measured = recsys("evaluate", "--config", folder / "best.toml", "--json").json
    assert measured["model"] == "item_knn"
    assert next(iter(measured["values"])) == "ndcg@5"
    assert measured["split"] == report["split"]
    assert {name: measured["settings"][name] for name in report["settings"]} == report["settings"]
    recsys("fit", "--config", folder / "best.toml", "-o", tmp_path / "bundle")


def test_a_model_of_ratings_is_tuned_for_their_error(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    command = ("tune", "explicit_mf", *data, "--split", "random", "--metric", "rmse", "--trials", "2")
    report = recsys(*command, "-o", tmp_path / "tuned", "--json").json
    assert report["metric"] == "rmse"
    assert report["best"]["value"] == min(trial["value"] for trial in report["trials"])
    measured = recsys("evaluate", "--config", tmp_path / "tuned" / "best.toml", "--json").json
    assert list(measured["values"]) == ["rmse"]


def test_tune_goes_on_and_shows_the_best(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    command = ("tune", "ease", *data, "-o", tmp_path / "tuned", "--trials")
    first = recsys(*command, "3")
    assert [line.split(":")[0] for line in first.stderr.splitlines() if "trial" in line] == [
        f"  trial {number} complete" for number in range(3)
    ]
    second = recsys(*command, "5")
    assert "trial 2" not in second.stderr
    assert "trial 4 complete" in second.stderr
    assert "Best trials of ease" in second.stdout
    assert "5 complete" in second.stdout


def test_the_test_part_is_not_looked_at(recsys, ratings_csv: Path, tmp_path: Path) -> None:
    # What comes after the split's moment may be anything.
    columns = "user_id=person,item_id=film,datetime=when"
    lines = ratings_csv.read_text("utf-8").splitlines()
    middle = dt.datetime.fromtimestamp(1_500_000_000 + 60 * 300, dt.UTC).isoformat()
    (tmp_path / "other.csv").write_text("\n".join([*lines[:301], "1,100,3.0,1900000000", "7,105,3.0,1900000001"]))
    reports = [
        recsys(
            "tune", "ease", "--path", path, "--columns", columns, "--set", f"split.at='{middle}'", "--trials", "3",
            "-o", tmp_path / path.stem, "--json",
        ).json
        for path in (ratings_csv, tmp_path / "other.csv")
    ]  # fmt: skip
    assert reports[0]["validation"] == {"method": "global_time", "test_fraction": None, "at": None}
    assert [trial["value"] for trial in reports[0]["trials"]] == [trial["value"] for trial in reports[1]["trials"]]


def test_a_run_file_says_how_to_tune(recsys, data: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        """
[model]
name = "ease"
[evaluate]
metrics = ["recall", "ndcg"]
[tune]
n_trials = 4
validation = { method = "leave_last", n = 2 }
space = { regularization = { low = 1, high = 2, log = true }, precision = ["float32", "float64"] }
""",
        "utf-8",
    )
    report = recsys("tune", "--config", tmp_path / "run.toml", *data, "-o", tmp_path / "tuned", "--json").json
    assert report["metric"] == "recall@10"
    assert report["validation"] == {"method": "leave_last", "n": 2}
    # The default, 200, lies outside, so that it is not tried.
    assert all(1 <= trial["regularization"] <= 2 for trial in report["trials"])
    assert {trial["precision"] for trial in report["trials"]} <= {"float32", "float64"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("tune.space.regularization=3", "tune.space.regularization: expected { low = 1, high = 10 }"),
        ("tune.space.regularization={low=2, high=1}", "low < high"),
        ("tune.space.regularisation={low=1, high=2}", "did you mean 'regularization'"),
        ("tune.validation={method='leave_lst'}", "tune.validation.method"),
        ("tune.n_trails=3", "did you mean 'n_trials'"),
    ],
)
def test_a_wrong_tune_section_is_refused(
    recsys, data: tuple[str, ...], tmp_path: Path, assignment: str, message: str
) -> None:
    outcome = recsys("tune", "ease", *data, "-o", tmp_path / "t", "--set", assignment, code=2)
    assert message in outcome.stderr


def test_a_written_run_reads_back(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        """
[data]
path = 'C:\\films "new"\\ratings.csv'
columns = { user_id = "the user", item_id = "film" }
options = {}
[split]
at = 2020-01-02
[evaluate]
k = [5, 10]
filter_seen = false
[model]
name = "popularity"
""",
        "utf-8",
    )
    run = read_run_config(tmp_path / "run.toml")
    settings = {"by": "events", "window_days": None, "half_life_days": 1e-7}
    (tmp_path / "again.toml").write_text(run_file(run, "popularity", settings, comment="é"), "utf-8")
    again = read_run_config(tmp_path / "again.toml")
    assert (again.data, again.evaluate) == (run.data, run.evaluate)
    assert again.split.model_dump(mode="json") == run.split.model_dump(mode="json")
    assert again.model().settings == {"by": "events", "half_life_days": 1e-7}
