"""A tuning as one page: a file without scripts and without anything to load."""

from __future__ import annotations

import os
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from recsys_core.models import SearchRange
from recsys_core.tuning.result import Trial, Tuning
from recsys_core.tuning.svg import Point, bar_plot, scatter_plot

__all__ = ["write_report"]

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: .2rem .6rem; text-align: right }
th { border-bottom: 1px solid #888 } tr:nth-child(even) { background: #f4f6f8 }
svg { margin: .5rem } .note { color: #666 }
"""
_CAVEAT = (
    "The best of many trials is better here than it will be on new data: measure it on a test part that the tuning has "
    "not seen. ± is the standard error over users."
)


def write_report(tuning: Tuning, path: str | os.PathLike[str], *, n_best: int = 20) -> None:
    """Write an HTML page: the best settings, the trials over time, what mattered, and the best trials.

    Parameters
    ----------
    tuning
        With at least one complete trial.
    path
        File to write, replaced if it is there.
    n_best
        Rows of the table of trials.

    Raises
    ------
    DataError
        No trial is complete.
    """
    best, first = tuning.best, tuning.trials[0]
    title = f"Tuning of {tuning.model}"
    default = f"; default settings: {_value(first)}" if first.state == "complete" else ""
    counts = ", ".join(f"{count} {state}" for state, count in tuning.counts.items())
    seconds = sum(trial.seconds for trial in tuning.trials)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Best {escape(tuning.metric)} on the validation part: <b>{_value(best)}</b>, trial {best.number}{default}.",
        f"<br>{counts}; {seconds:.0f} s in all.</p>",
        f'<p class="note">{_CAVEAT}</p>',
        "<h2>Best settings</h2>",
        _table(("setting", "value"), [(name, _shown(value)) for name, value in tuning.best_settings.items()]),
        "<h2>Trials</h2>",
        _history(tuning),
    ]
    if tuning.importance:
        parts.append(bar_plot("importance (PED-ANOVA)", list(tuning.importance.items())))
    parts += ["<h2>Settings</h2>", *(_slice(tuning, name) for name in tuning.space)]
    parts += ["<h2>Best trials</h2>", _trials(tuning, tuning.ranked(n_best))]
    failed = [(str(trial.number), trial.error) for trial in tuning.trials if trial.state == "failed"]
    if failed:
        parts += ["<h2>Failed</h2>", _table(("trial", "error"), failed)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    page = "\n".join(['<!doctype html>\n<html lang="en">', head, *parts, "</html>\n"])
    Path(path).write_text(page, encoding="utf-8")


def _history(tuning: Tuning) -> str:
    """Value of each trial in its turn, and the best so far."""
    line: list[tuple[float, float]] = []
    better = max if tuning.higher_is_better else min
    for trial in tuning.trials:
        if trial.state == "complete" and trial.value is not None:
            value = better(line[-1][1], trial.value) if line else trial.value
            line += [(trial.number, line[-1][1])] if line else []
            line.append((trial.number, value))
    return scatter_plot(f"{tuning.metric} by trial", _points(tuning, lambda trial: trial.number), line=line)


def _slice(tuning: Tuning, name: str) -> str:
    """Value over one setting."""
    search = tuning.space[name]
    numeric = isinstance(search, SearchRange)
    tried = _points(tuning, lambda trial: trial.settings[name] if numeric else _shown(trial.settings[name]), name)
    return scatter_plot(name, tried, log=isinstance(search, SearchRange) and search.log) if tried else ""


def _points(tuning: Tuning, x: Any, name: str | None = None) -> list[Point]:
    return [
        Point(
            x(trial),
            trial.value,
            f"trial {trial.number}, {trial.state}: {trial.value:.4f}",
            "best" if trial is tuning.best else "plain" if trial.state == "complete" else "muted",
        )
        for trial in tuning.trials
        if trial.value is not None and (name is None or name in trial.settings)
    ]


def _trials(tuning: Tuning, trials: Iterable[Trial]) -> str:
    header = ("trial", tuning.metric, *tuning.space, "seconds")
    rows = [
        (
            str(trial.number),
            _value(trial),
            *(_shown(trial.settings[name]) if name in trial.settings else "" for name in tuning.space),
            f"{trial.seconds:.1f}",
        )
        for trial in trials
    ]
    return _table(header, rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>{body}</table>"


def _value(trial: Trial) -> str:
    spread = "" if trial.std_error is None else f" ± {trial.std_error:.4f}"
    return f"{trial.value:.4f}{spread}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
