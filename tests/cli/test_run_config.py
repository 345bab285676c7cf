"""TOML, ``--set`` and flags become one checked run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from recsys_core.cli.run_config import (
    GlobalTimeSplit,
    LeaveLastSplit,
    ModelRequest,
    RandomSplit,
    UsersSplit,
    read_run_config,
    run_flags,
)
from recsys_core.errors import ConfigError, FormatError

RUN = """
[data]
path = "ratings.csv"
columns = { user_id = "person", item_id = "film" }

[model]
name = "als"
n_factors = 128

[split]
method = "users"
history_fraction = 0.5

[evaluate]
k = [5, 20]
metrics = ["ndcg"]

[models.small]
name = "als"
n_factors = 8

[models.ease]
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN, "utf-8")
    return path


def test_a_file(toml: Path) -> None:
    run = read_run_config(toml)
    assert run.data.path == "ratings.csv"
    assert run.data.columns == {"user_id": "person", "item_id": "film"}
    assert run.model() == ModelRequest("als", "als", {"n_factors": 128})
    assert run.split == UsersSplit(history_fraction=0.5)
    assert run.evaluate.k == [5, 20]
    assert run.models(()) == [ModelRequest("small", "als", {"n_factors": 8}), ModelRequest("ease", "ease", {})]
    assert run.models(["small", "slim"]) == [
        ModelRequest("small", "als", {"n_factors": 8}),
        ModelRequest("slim", "slim", {}),
    ]


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    from textwrap import dedent

    from recsys_core.cli import run_config

    example = run_config.__doc__.partition(".. code-block:: toml")[2].partition("\nA flag")[0]
    (tmp_path / "run.toml").write_text(dedent(example), "utf-8")
    run = read_run_config(tmp_path / "run.toml")
    assert run.model().settings == {"n_factors": 128}
    assert run.models(())[0].label == "als_small"


def test_defaults() -> None:
    run = read_run_config()
    assert run.split == GlobalTimeSplit()
    assert run.evaluate.k == [10]
    assert run.data.path is run.data.dataset is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ("bm25", "bm25"),
        ("a=b", "a=b"),
        ("1\nb = 2", "1\nb = 2"),
        ("2001-02-03", dt.date(2001, 2, 3)),
    ],
)
def test_set_reads_toml_values(text: str, value: object) -> None:
    assert read_run_config(None, [f"model.x={text}", "model.name=m"]).model().settings == {"x": value}


def test_set_reaches_into_tables(toml: Path) -> None:
    run = read_run_config(toml, ["models.small.n_factors=4", "models.large.name=als", "data.columns.weight=stars"])
    small, large = run.models(["small", "large"])
    assert small.settings == {"n_factors": 4}
    assert large.name == "als"
    assert run.data.columns == {"user_id": "person", "item_id": "film", "weight": "stars"}


def test_a_setting_of_a_model_that_is_not_asked_for_is_refused() -> None:
    run = read_run_config(None, ["model.n_factors=8"])
    with pytest.raises(ConfigError, match=r"^--set: .* by its label, got model.n_factors; use models.als.n_factors.$"):
        run.models(["als", "ease"])
    run = read_run_config(None, ["models.al.n_factors=8"])
    with pytest.raises(ConfigError, match=r"expected one of als, ease, got 'al'. Did you mean 'als'\?$"):
        run.models(["als", "ease"])
    run = read_run_config(None, ["models.als.n_factors=8"], flags={"model": {"name": "als"}})
    with pytest.raises(ConfigError, match=r"of the one model, got models.als.n_factors; use model.n_factors.$"):
        run.model()


def test_flags_win_over_set_and_set_over_the_file(toml: Path) -> None:
    run = read_run_config(toml, ["evaluate.k=[7]"], flags={"evaluate": {"k": [3], "metrics": None}})
    assert run.evaluate.k == [3]
    assert run.evaluate.metrics == ["ndcg"]
    assert read_run_config(toml, ["evaluate.k=[7]"]).evaluate.k == [7]


def test_another_model_takes_nothing_from_the_files(toml: Path) -> None:
    other = read_run_config(toml, ["model.l1=2.0"], flags=run_flags(model="slim"))
    assert other.model() == ModelRequest("slim", "slim", {"l1": 2.0})
    assert read_run_config(toml, flags=run_flags(model="als")).model().settings == {"n_factors": 128}


def test_another_source_replaces_the_files(toml: Path) -> None:
    run = read_run_config(toml, flags=run_flags(dataset="ml-100k"))
    assert (run.data.path, run.data.dataset, run.data.columns) == (None, "ml-100k", {})
    run = read_run_config(toml, flags=run_flags(path=Path("b.csv")))
    assert run.data.path == "b.csv"
    assert run.data.columns == {"user_id": "person", "item_id": "film"}


def test_another_source_keeps_what_the_command_line_says(toml: Path) -> None:
    run = read_run_config(toml, ["data.options.cache_dir=c"], flags=run_flags(dataset="ml-100k"))
    assert run.data.options == {"cache_dir": "c"}
    run = read_run_config(toml, ["data.dataset=ml-100k"])
    assert (run.data.path, run.data.dataset, run.data.columns) == (None, "ml-100k", {})


def test_another_split_inherits_what_it_has_too(toml: Path) -> None:
    assert read_run_config(toml, flags=run_flags(split="leave_last")).split == LeaveLastSplit()
    assert read_run_config(toml, ["split.method=leave_last", "split.n=2"]).split == LeaveLastSplit(n=2)
    assert read_run_config(toml, flags=run_flags(split="users")).split == UsersSplit(history_fraction=0.5)
    toml.write_text(RUN.replace("history_fraction", "test_fraction"), "utf-8")
    assert read_run_config(toml, flags=run_flags(split="random")).split == RandomSplit(test_fraction=0.5)


@pytest.mark.parametrize("file", [True, False])
@pytest.mark.parametrize(
    ("assignments", "flag"),
    [
        (["split.test_fraction=0.3"], "random"),
        (["split.method=random", "split.test_fraction=0.3"], None),
        (["split.test_fraction=0.3", 'split.method = "random"'], None),
        (["split.test_fraction=0.3", "split.method=leave_last"], "random"),
    ],
)
def test_settings_of_the_split_hold_wherever_its_method_is_said(
    toml: Path, file: bool, assignments: list[str], flag: str | None
) -> None:
    run = read_run_config(toml if file else None, assignments, flags=run_flags(split=flag))
    assert run.split == RandomSplit(test_fraction=0.3)


def test_a_setting_that_the_split_has_not_is_an_error_if_nothing_replaced_it(toml: Path) -> None:
    with pytest.raises(ConfigError, match="has no setting 'n'"):
        read_run_config(toml, ["split.n=2"], flags=run_flags(split="random"))
    toml.write_text(RUN.replace("history_fraction", "histroy_fraction"), "utf-8")
    with pytest.raises(ConfigError, match="has no setting 'histroy_fraction'"):
        read_run_config(toml, flags=run_flags(split="random"))


def test_columns() -> None:
    assert run_flags(columns="user_id=person, weight=")["data"]["columns"] == {"user_id": "person", "weight": None}
    assert run_flags()["data"]["columns"] is None


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[modle]\nname='als'", ConfigError, "Did you mean 'model'"),
        ("[data]\npth='x'", ConfigError, "did you mean 'path'"),
        ("[data]\ntime_unit='h'", ConfigError, "time_unit"),
        ("[split]\nmethod=['users']", ConfigError, "expected one of global_time"),
        ("[split]\nmethod='randm'", ConfigError, "Did you mean 'random'"),
        ("[split]\nn=3", ConfigError, "has no setting 'n'"),
        ("[split]\ntest_fraction=1.5", ConfigError, "less than 1"),
        ("[evaluate]\nconfidence=95", ConfigError, "less than 1"),
        ("data = 3", ConfigError, "expected a table, got 3"),
        ("[models]\nals = 3", ConfigError, "models.als: expected a table"),
        ("[data", FormatError, "expected TOML"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(error, match=words):
        read_run_config(path)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("n_factors=3", "SECTION.KEY=VALUE"),
        ("model.n_factors", "SECTION.KEY=VALUE"),
        ("model.=3", "SECTION.KEY=VALUE"),
        ("models.als=3", "models.LABEL.KEY=VALUE"),
        ("data.path.x=3", "expected a table"),
    ],
)
def test_wrong_assignments(toml: Path, assignment: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_run_config(toml, [assignment])
