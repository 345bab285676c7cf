"""``recsys quickstart`` on a small copy of MovieLens latest-small's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_core import runtime

TITLES = ("Alien (1979)", "Aliens (1986)", "Heat (1995)", "Toy Story (1995)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    n_users, n_items = 60, 40
    pairs = np.argwhere(rng.random((n_users, n_items)) < 0.4)
    rng.shuffle(pairs)
    folder = tmp_path / "ml-latest-small"
    folder.mkdir()
    pl.DataFrame(
        {
            "userId": pairs[:, 0] + 1,
            "movieId": pairs[:, 1] + 1,
            "rating": rng.integers(1, 6, len(pairs)).astype(float),
            "timestamp": 1_000_000_000 + 3600 * np.arange(len(pairs)),
        }
    ).write_csv(folder / "ratings.csv")
    titles = [TITLES[item] if item < len(TITLES) else f"Film {item} (2000)" for item in range(n_items)]
    films = {"movieId": range(1, n_items + 1), "title": titles, "genres": ["Drama"] * n_items}
    pl.DataFrame(films).write_csv(folder / "movies.csv")
    monkeypatch.setenv("RECSYS_DATA_DIR", str(tmp_path))
    return folder


def test_the_whole_road(recsys, folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    outcome = recsys("quickstart", "--dataset", "ml-latest-small", "--output", bundle)
    text = outcome.stdout
    assert str(folder) in "".join(text.split())  # a long path is wrapped
    for model in ("popularity", "item_knn", "ease", "als", "explicit_mf", "bpr"):
        assert model in text.partition("3  Compare")[2]
    assert "95% interval" in text
    assert "ONNX gives the model's answers" in text
    assert "Somebody the model never saw had: Alien; Aliens" in text
    assert max(map(len, text.splitlines())) <= 100 + len(str(tmp_path))
    assert f"recsys recommend {bundle} --user" in text
    # It can be run again, over its own bundle, and what it saved works.
    report = recsys("quickstart", "--dataset", "ml-latest-small", "--output", bundle, "--json").json
    assert len(report["models"]) == 6
    assert report["bundle"] == str(bundle)
    model = runtime.load(bundle)
    assert model.manifest["model"]["name"] == report["chosen"]
    assert model.manifest["metrics"]["ndcg@10"] > 0
    known, stranger = report["recommendations"]
    assert stranger["history"] == [1, 2]
    assert [row["item_id"] for row in stranger["recommendations"]] == model.recommend(histories=[[1, 2]], k=5)[
        "item_id"
    ].to_list()
    assert all(row["title"] for row in known["recommendations"])


def test_its_three_commands_run(recsys, folder: Path, tmp_path: Path) -> None:
    text = recsys("quickstart", "--dataset", "ml-latest-small", "--output", tmp_path / "b", "--quiet").stdout
    commands = [line.split() for line in text.partition("to try next:")[2].splitlines() if line.strip()]
    assert len(commands) == 3
    for program, *arguments in commands:
        assert program == "recsys"
        assert recsys(*arguments).stdout


@pytest.mark.usefixtures("folder")
def test_it_never_replaces_what_is_no_bundle(recsys, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    recsys("quickstart", "--dataset", "ml-latest-small", "--output", mine, code=5)
    assert (mine / "notes.txt").read_text() == "mine"
