"""What the deployer's page shows runs where nothing but onnxruntime and numpy is, and gives the model's answers."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_core import runtime
from recsys_core.data import FeaturePreparation
from recsys_core.models.user_features import read_user_features

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:<!-- deployer (\w+):.*?-->\s*)?```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
DRINKS, CLUB = (code for kind, code in BLOCKS if kind == "script")
(FUNCTIONS,) = (code for kind, code in BLOCKS if kind == "functions")
SAVING = [code for kind, code in BLOCKS if "save_bundle(" in code and "with_index" not in code]

MEMBERS = pl.DataFrame(
    {
        "town": ["Ulm", "Bonn", "Ulm", None],
        "member": [True, False, None, True],
        "age": [20.0, 35.0, None, 61.5],
        "height": [150, 181, 192, None],
        "since": [dt.date(2001, 1, 2), None, dt.date(2020, 2, 3), dt.date(2011, 5, 6)],
        "hobbies": [["tea", "go"], ["go", "cups", "tea"], [], None],
        "rooms": [[3], [3, 4], [4], None],
        "motto": ["One more tea", "Straße, ﬁne & ÉTÉ", None, "a b"],
        "about": [None, "tea after lunch", "what is tea without cups", ""],
    }
)
ASKERS: list[dict[str, Any]] = [
    {},
    {"town": "Bonn", "age": 41, "motto": "STRASSE", "about": "fine"},
    {"town": "Rome", "age": 1e9, "height": None, "hobbies": ["cups", "chess", "cups", "go", "tea", "tea"]},
    {"member": "true", "height": 177.5, "hobbies": None, "rooms": ["4", "3", "7"], "about": "tea " * 200},
    {"since": (dt.date(2010, 3, 4) - dt.date(1970, 1, 1)).days, "hobbies": [], "motto": "", "about": "e\u0301te\u0301"},
]


def user_inputs(preparation: FeaturePreparation, people: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """By the page's function, from what the file says."""
    shown: dict[str, Any] = {}
    exec(compile(FUNCTIONS, "deploying.md", "exec"), shown)
    made: dict[str, np.ndarray[Any, Any]] = shown["user_inputs"](json.loads(json.dumps(preparation.to_dict())), people)
    return made


@pytest.mark.parametrize("names", [MEMBERS.columns, ["age", "height"], ["hobbies", "town"], ["motto"]])
def test_the_functions_make_the_inputs_that_the_library_makes(names: list[str]) -> None:
    texts = [name for name in ("motto", "about") if name in names]
    preparation = FeaturePreparation.from_table(MEMBERS.select(names), text_columns=texts, n_buckets=500, min_count=1)
    known = [{name: told for name, told in asker.items() if name in names} for asker in ASKERS]
    made = user_inputs(preparation, known)
    columns = {name: [asker.get(name) for asker in known] for name in names}
    if "member" in names:
        columns["member"] = [None if told is None else told == "true" for told in columns["member"]]
    if "rooms" in names:
        columns["rooms"] = [None if told is None else [int(room) for room in told] for told in columns["rooms"]]
    read = read_user_features(pl.DataFrame(columns, strict=False), preparation, "club")
    assert read is not None
    assert {name for name, array in made.items() if array.shape[1] and name in read.arrays} == set(read.arrays)
    for name, array in read.arrays.items():
        assert made[name].dtype == array.dtype
        np.testing.assert_array_equal(made[name], array, err_msg=name)


def run(python: Path, script: str, folder: Path) -> str:
    """What the script prints in the folder."""
    done = subprocess.run([python, "-W", "error", "-c", script], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_scripts_give_the_answers_of_the_bundles(
    bare_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    assert len(DRINKS.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {}
    for code in SAVING:
        exec(compile(code, "deploying.md", "exec"), page)

    answer = runtime.load("drinks.bundle").recommend(histories=[["tea", "pot"]], k=2)
    assert run(bare_python, DRINKS, tmp_path).startswith(f"[('{answer['item_id'][0]}', ")

    club: dict[str, Any] = {}
    exec(compile(CLUB[CLUB.index("people = ") : CLUB.index("\n\nfeeds")], "deploying.md", "exec"), club)
    answer = runtime.load("club.bundle").recommend(histories=[["tea"], []], user_features=club["people"], k=2)
    expected = [answer.filter(pl.col("user_id") == row).select("item_id", "score").rows() for row in (0, 1)]
    found = json.loads(run(bare_python, FUNCTIONS + CLUB, tmp_path).translate(str.maketrans("()'", '[]"')))
    for found_row, row in zip(found, expected, strict=True):
        assert [item for item, _ in found_row] == [item for item, _ in row]
        assert [score for _, score in found_row] == pytest.approx([score for _, score in row], rel=1e-4, abs=1e-4)
