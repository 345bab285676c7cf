"""What a tuning found: its trials, the best settings, and how much each setting mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from recsys_core.errors import DataError
from recsys_core.models import SearchSpace

__all__ = ["Trial", "Tuning"]


@dataclass(frozen=True)
class Trial:
    """One choice of settings, tried.

    Attributes
    ----------
    number
        Its place in the study, from 0; 0 has the default settings.
    state
        ``"complete"``; ``"pruned"``, given up while training; ``"failed"``, stopped by an error.
    settings
        The searched settings that had an effect, and their values.
    value
        The metric on the validation part; of a pruned trial, as it stood when it was given up; None if failed.
    std_error
        Standard error of the value over users, where the metric has a value for each user.
    seconds
        Training and measuring took so long.
    error
        Why it failed, else "".
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    settings: Mapping[str, Any]
    value: float | None
    std_error: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Tuning:
    """The result of :func:`tune`.

    Attributes
    ----------
    model
        Name of the model.
    metric
        What was maximized, or minimized, such as ``"ndcg@10"``.
    higher_is_better
        Which of the two.
    fixed
        Settings that were given, and not searched.
    space
        Where each searched setting was looked for.
    trials
        In the order in which they ran.
    importance
        Setting to its share in what sets the best tenth of the trials apart, largest first, summing to 1; empty below
        20 complete trials.
    """

    model: str
    metric: str
    higher_is_better: bool
    fixed: Mapping[str, Any]
    space: SearchSpace
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial:
        """The complete trial of the best value; the first of equals.

        Raises
        ------
        DataError
            No trial is complete.
        """
        return self.ranked(1)[0]

    @property
    def best_settings(self) -> dict[str, Any]:
        """Settings to create the model with: the fixed ones and those of the best trial."""
        return {**self.fixed, **self.best.settings}

    @property
    def counts(self) -> dict[str, int]:
        """State to the number of trials that ended so, without those of which there is none."""
        return dict(Counter(trial.state for trial in self.trials))

    def ranked(self, n: int | None = None) -> list[Trial]:
        """The complete trials, best first.

        Parameters
        ----------
        n
            How many at most; all if None.

        Raises
        ------
        DataError
            No trial is complete.
        """
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        if not complete:
            raise DataError(f"trials: expected one that is complete, got {len(self.trials)} pruned or failed ones.")
        sign = -1.0 if self.higher_is_better else 1.0
        return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))[:n]

    def to_frame(self) -> pl.DataFrame:
        """One row a trial: ``number, state, value, std_error, seconds, error`` and a column a searched setting.

        A setting that had no effect in a trial is null there.  Choices that mix types are written as text.
        """
        columns: dict[str, Any] = {
            "number": [trial.number for trial in self.trials],
            "state": [trial.state for trial in self.trials],
            "value": pl.Series([trial.value for trial in self.trials], dtype=pl.Float64),
            "std_error": pl.Series([trial.std_error for trial in self.trials], dtype=pl.Float64),
            "seconds": [trial.seconds for trial in self.trials],
            "error": [trial.error for trial in self.trials],
        }
        for name in self.space:
            values = [trial.settings.get(name) for trial in self.trials]
            kinds = {type(value) for value in values if value is not None}
            mixed = len(kinds) > 1 and not kinds <= {int, float}
            columns[name] = [str(value) for value in values] if mixed else values
        return pl.DataFrame(columns, strict=False)
