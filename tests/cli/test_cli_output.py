"""The one module that prints."""

from __future__ import annotations

import datetime as dt
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from recsys_core.cli.output import PIPED_WIDTH, Output, plain


def test_plain_values() -> None:
    content = {
        "float": np.float32(0.5),
        "nan": math.nan,
        "infinite": -math.inf,
        "int": np.int64(3),
        "bool": True,
        "none": None,
        "set": {"b", "a"},
        "tuple": (1, "x"),
        "path": Path("a/b"),
        "date": dt.date(2020, 1, 2),
        1: "a key",
    }
    assert plain(content) == {
        "float": 0.5,
        "nan": None,
        "infinite": None,
        "int": 3,
        "bool": True,
        "none": None,
        "set": ["a", "b"],
        "tuple": [1, "x"],
        "path": "a/b",
        "date": "2020-01-02",
        "1": "a key",
    }


def test_json_leaves_stdout_to_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.table([{"a": 1}], title="title")
    out.fields({"a": 1}, title="title")
    out.heading("heading")
    out.paragraph("paragraph")
    out.text("text")
    out.data({"a": "é"})
    out.note("by the way")
    captured = capsys.readouterr()
    assert captured.out == '{\n  "a": "é"\n}\n'
    assert captured.err == "by the way\n"


def test_data_is_silent_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output().data({"a": 1})
    assert capsys.readouterr().out == ""


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(quiet=True)
    out.note("note")
    out.warn("look out")
    out.text("result")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "warning: look out\n"


def test_a_table_aligns_and_formats(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    Output().table([{"name": "[red]x", "value": 0.25, "n": 12345}, {"name": "yy", "value": None, "n": 2}])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].split() == ["name", "value", "n"]
    assert lines[2].split() == ["[red]x", "0.2500", "12345"]  # square brackets are no markup
    assert lines[3].split() == ["yy", "-", "2"]
    assert lines[2].endswith("12345")
    assert lines[3].endswith("    2")


def test_a_narrow_console_breaks_no_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": "explicit_mf", "summary": "factorization of ratings", "distribution": "recsys-core"}
    monkeypatch.setenv("COLUMNS", "45")
    Output().table([row, row], title="Models")
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "30")
    Output().table([row, row], title="Models", caption="two of them")
    narrow = capsys.readouterr().out
    for printed in (wide, narrow):
        assert all(word in printed.split() for value in row.values() for word in value.split())
    assert "───" in wide
    assert [line.split() for line in narrow.splitlines()[:2]] == [["Models"], ["name", "explicit_mf"]]
    assert narrow.splitlines()[-1] == "two of them"


def test_a_paragraph_is_wrapped_where_output_is_piped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    Output().paragraph("word " * 60)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= PIPED_WIDTH
    assert lines[0].startswith("  w")
    assert lines[1].startswith("    w")


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("fit") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_to_a_person(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Output().progress("fit als") as progress:
        progress(1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fit als" in captured.err
    assert "50%" in captured.err


def test_warnings_and_the_log_become_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().diagnostics():
        warnings.simplefilter("default")
        warnings.warn("left out", UserWarning, stacklevel=1)
        logging.getLogger("recsys_core.data").warning("the column %r looks like it", "rating")
        logging.getLogger("recsys_core.data").info("not this")
    assert capsys.readouterr().err == "warning: left out\nwarning: the column 'rating' looks like it\n"
    assert not logging.getLogger("recsys_core").handlers
