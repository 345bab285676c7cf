"""A user's mistake: one line on stderr, and an exit code that says of what kind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys_core import errors
from recsys_core.cli.failures import EXIT_CODES, exit_code
from recsys_core.errors import UnknownModelError
from recsys_core.models import Recommender


def test_every_kind_of_error_has_a_code() -> None:
    own = {getattr(errors, name) for name in errors.__all__} - {errors.RecsysError}
    without = {kind.__name__ for kind in own if exit_code(kind("")) == 1}
    assert without == {"NotFittedError"}  # no command can meet it: each fits what it uses
    assert set(EXIT_CODES) <= own
    assert exit_code(errors.ShapeError("")) == exit_code(errors.DTypeError("")) == 3
    assert exit_code(OSError("")) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("fitt",), 2, "Did you mean 'fit'"),
        (("fit", "--bogus"), 2, "--bogus"),
        (("recommend",), 2, "recsys recommend --help"),
        (("fit", "als"), 2, "--path FILE or --dataset NAME"),
        (("fit", "--dataset", "x"), 2, "model: expected a name"),
        (("fit", "als", "--dataset", "x", "--set", "model.n_factor=3"), 2, "did you mean 'n_factors'"),
        (("fit", "als", "--dataset", "x", "--set", "model.n_factors=0"), 2, "greater than or equal to 1"),
        (("fit", "als", "--dataset", "x", "--set", "modell.n_factors=1"), 2, "Did you mean 'model'"),
        (("fit", "als", "--path", "x.csv", "--columns", "user"), 2, "PART=NAME"),
        (("compare", "als", "als", "--dataset", "x"), 2, "als more than once"),
        (("evaluate", "als", "--split", "global_tim"), 2, "Did you mean 'global_time'"),
        (("models", "show", "alls"), 4, "did you mean 'als'"),
        (("fit", "als", "--dataset", "ml-100"), 4, "did you mean 'ml-100k'"),
        (("fit", "als", "--path", "missing.csv"), 3, "missing.csv"),
        (("fit", "als", "--config", "missing.toml"), 5, "missing.toml"),
        (("recommend", "missing", "--user", "1"), 5, "missing"),
        (("recommend", "x", "--backend", "gpu"), 2, "value for '--backend': 'gpu' is not one of 'onnx', 'core'"),
        (("export", "missing", "x.onnx"), 5, "missing"),
    ],
)
def test_mistakes(recsys, arguments: tuple[str, ...], code: int, words: str) -> None:
    outcome = recsys(*arguments, code=code)
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("\n") == 1
    assert words in outcome.stderr


def test_unusable_data(recsys, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user_id,item_id,weight\n1,2,-3\n", "utf-8")
    outcome = recsys("fit", "als", "--path", tmp_path / "bad.csv", code=3)
    assert "weight of at least 0" in outcome.stderr


@pytest.mark.parametrize("how", ["option", "environment"])
def test_traceback_on_request(recsys_process, how: str) -> None:
    arguments = ("models", "show", "alls")
    variables = {"RECSYS_TRACEBACK": "1"} if how == "environment" else {}
    outcome = recsys_process(*arguments, *(["--traceback"] if how == "option" else []), code=1, **variables)
    assert "Traceback" in outcome.stderr
    assert UnknownModelError.__name__ in outcome.stderr


@pytest.mark.parametrize("value", ["", "0"])
def test_no_traceback_when_the_variable_is_off(recsys_process, value: str) -> None:
    outcome = recsys_process("models", "show", "alls", code=4, RECSYS_TRACEBACK=value)
    assert "Traceback" not in outcome.stderr


def test_an_unusable_instruction_set(recsys_process) -> None:
    outcome = recsys_process("doctor", "--json", code=6, RECSYS_ISA="mmx")
    assert outcome.json["core"]["isa"] is None
    assert "RECSYS_ISA" in outcome.json["problems"][0]


INTERRUPTED = """
import sys
from recsys_core import registry
def wait(*args, **kwargs):
    print("ready", flush=True)
    import time
    time.sleep(60)
registry.default_registry = wait
sys.argv = ["recsys", "models", "list"]
from recsys_core.cli import main
main()
"""


def test_interrupted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "error: interrupted.\n"


def test_a_reader_that_leaves() -> None:
    command = "import sys; sys.argv = ['recsys', 'models', 'list', '--json']; from recsys_core.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert process.returncode == 1
    assert stderr == b""


@pytest.fixture
def events() -> pl.DataFrame:
    return pl.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [11, 12, 11, 13, 12], "weight": [1, 2, 3, 4, 5]})


def test_remedies_are_options(recsys, events: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    events.rename({"user_id": "userId"}).write_csv(path)
    assert "pass --columns user_id='userId'" in recsys("fit", "popularity", "--path", path, code=3).stderr
    events.write_csv(path)
    recsys("fit", "popularity", "--path", path, "-o", tmp_path / "b")
    told = recsys("recommend", tmp_path / "b", "--user", "999", code=3).stderr
    assert "--user: 1 unknown user(s): 999" in told
    assert "pass --on-unknown ignore to leave them out or --on-unknown fallback for" in told
    assert "repeat --user for several" in recsys("recommend", tmp_path / "b", "--user", "1,2", code=3).stderr
    told = recsys("evaluate", "popularity", "--path", path, code=3).stderr
    assert "name their column, --columns datetime=NAME, or pass --split leave_last" in told
    assert "make one with `recsys fit`" in recsys("recommend", tmp_path, "--user", "1", code=5).stderr
    assert (
        "--allow: 1 unknown item(s): 7" in recsys("recommend", tmp_path / "b", "-u", "1", "--allow", "7", code=3).stderr
    )


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_misspelt_metric_is_found_before_the_training(
    recsys, data: tuple[str, ...], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*args: object, **options: object) -> None:
        raise AssertionError("trained before the metrics were looked at")

    monkeypatch.setattr(Recommender, "fit", train)
    outcome = recsys(command, "popularity", *data, "--metric", "ndgc", code=2)
    assert "metric: unknown name 'ndgc'; did you mean 'ndcg'?" in outcome.stderr


def test_rows_are_said_to_be_counted_from_0(recsys, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user_id,item_id,weight\n1,1,1\n2,2,bad\n")
    told = recsys("fit", "popularity", "--path", path, code=3).stderr
    assert "weight: expected numbers, got row 1 ('bad')" in told
    assert "(rows are counted from 0, without the header)" in told
    assert "Rows are counted from 0, without the header." in recsys("data", "audit", "--path", path, code=3).stdout


def test_what_exists_already_is_wrong_usage_everywhere(recsys, events: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    events.write_parquet(path)
    bundle = tmp_path / "b"
    recsys("fit", "popularity", "--path", path, "-o", bundle)
    for asked in (
        ("fit", "popularity", "--path", path, "-o", bundle),
        ("export", bundle, path),
        ("forget", bundle, bundle, "--user", 1),
    ):
        told = recsys(*asked, code=2).stderr
        assert "exists already" in told
        assert "pass --overwrite" in told


def test_an_interrupt_while_the_command_is_being_imported_is_reported_as_any_other() -> None:
    script = """
import sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "recsys_core.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
from recsys_core.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted.\n")
