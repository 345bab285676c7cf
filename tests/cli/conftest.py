"""A small data set on disk, a way to run commands in this process, and one to run them in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys_core.cli import app

N_USERS, N_ITEMS = 40, 30


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Recsys = Callable[..., Outcome]


@pytest.fixture
def recsys() -> Recsys:
    """Run a command in this process: ``recsys("models", "list", code=0)``."""

    def run(*arguments: object, code: int = 0) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        outcome = Outcome(result.exit_code, result.stdout, result.stderr)
        assert outcome.code == code, f"{outcome}\n{result.exception!r}"
        return outcome

    return run


@pytest.fixture
def recsys_process(tmp_path: Path) -> Recsys:
    """Run a command in a process of its own, in an empty folder; ``variables`` are set in its environment."""

    def run(*arguments: object, code: int = 0, **variables: str) -> Outcome:
        script = "from recsys_core.cli import main; main()"
        result = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **variables},
            check=False,
            timeout=120,
        )
        outcome = Outcome(result.returncode, result.stdout, result.stderr)
        assert outcome.code == code, outcome
        return outcome

    return run


@pytest.fixture(scope="session")
def ratings() -> pl.DataFrame:
    """Two tastes: even users rate even items, odd users odd ones; each at a time of its own."""
    rng = np.random.default_rng(0)
    rows = [
        (user, 100 + item, float(rng.integers(1, 6)))
        for user in range(N_USERS)
        for item in rng.permutation(N_ITEMS)
        if (user + item) % 2 == 0 and rng.random() < 0.7
    ]
    users, items, weights = zip(*(rows[i] for i in rng.permutation(len(rows))), strict=True)
    seconds = 1_500_000_000 + 60 * np.arange(len(rows))
    return pl.DataFrame({"person": users, "film": items, "stars": weights, "when": seconds})


COLUMNS = "user_id=person,item_id=film,weight=stars,datetime=when"


@pytest.fixture(scope="session")
def ratings_csv(ratings: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    ratings.write_csv(path)
    return path


@pytest.fixture(scope="session")
def films_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "films.csv"
    items = [100 + item for item in range(N_ITEMS)]
    pl.DataFrame({"film": items, "title": [f"Film {item}" for item in items], "year": 1990}).write_csv(path)
    return path


@pytest.fixture
def data(ratings_csv: Path) -> tuple[str, ...]:
    """The options that name the data."""
    return ("--path", str(ratings_csv), "--columns", COLUMNS)


@pytest.fixture
def bundle(recsys: Recsys, data: tuple[str, ...], films_csv: Path, tmp_path: Path) -> Path:
    """A bundle of an EASE model with titles."""
    path = tmp_path / "bundle"
    recsys("fit", "ease", *data, "--set", f"data.item_features={films_csv}", "--output", path, "--quiet")
    return path
