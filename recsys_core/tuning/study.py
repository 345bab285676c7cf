"""A study in Optuna: which settings to try next, when to give up, and a file that remembers.

The file is SQLite, so that a killed process leaves it whole.  Each trial is drawn with a seed of its own, made from
``random_state`` and the number of finished trials: a study that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recsys_core.errors import ConfigError, FormatError
from recsys_core.models import Config, SearchRange, SearchSpace
from recsys_core.models.search import has_effect, is_integer
from recsys_core.tuning.result import Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["Study"]

_NAME = "recsys tune"
_STARTUP_TRIALS = 10  # drawn at random before the sampler learns from them
_TRIALS_TO_PRUNE_BY = 5  # a median of fewer says little
_TRIALS_TO_WEIGH_BY = 20  # PED-ANOVA compares the best tenth with all


class Study:
    """The trials of one model on one data set.

    Parameters
    ----------
    path
        SQLite file, made if it is not there; None keeps the study in memory.
    about
        What the study is of, JSON-safe.  A file of something else is refused.
    config_class
        Config of the model.
    space
        Where to look.
    higher_is_better
        Direction of the metric.
    random_state
        Seed.

    Raises
    ------
    ConfigError
        Optuna is not installed, or the file is of another study.
    FormatError
        The file is not a study.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        about: Mapping[str, Any],
        config_class: type[Config],
        space: SearchSpace,
        *,
        higher_is_better: bool,
        random_state: int,
    ) -> None:
        self._optuna = _import_optuna()
        self._config_class = config_class
        self._space = space
        self._random_state = random_state
        self._pruner = self._optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_TO_PRUNE_BY)
        self._study = self._open(path, "maximize" if higher_is_better else "minimize")
        self._check_about(path, json.loads(json.dumps(about)))
        self._resume()

    @property
    def n_finished(self) -> int:
        """Trials that are complete, pruned or failed for a reason of their own."""
        return len(self._finished())

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """The next trial and its settings, those without effect left out."""
        # TPE learns from the trials in the study, so that its seed alone would repeat the first draws after a restart.
        seed = _seed(self._random_state, self.n_finished)
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
        trial = self._study.ask()
        settings: dict[str, Any] = {}
        known = {name: setting.default for name, setting in self._config_class.model_fields.items()}
        for name, search in self._space.items():
            if not has_effect(search, {**known, **settings}):
                continue
            if not isinstance(search, SearchRange):
                settings[name] = trial.suggest_categorical(name, search.values)
            elif is_integer(self._config_class, name):
                settings[name] = trial.suggest_int(name, int(search.low), int(search.high), log=search.log)
            else:
                settings[name] = trial.suggest_float(name, search.low, search.high, log=search.log)
        return trial, settings

    def tell(
        self,
        trial: optuna.Trial,
        state: Literal["complete", "pruned", "failed"],
        *,
        seconds: float,
        value: float | None = None,
        std_error: float | None = None,
        error: str = "",
    ) -> None:
        """Write down how a trial ended."""
        trial.set_user_attr("std_error", std_error)
        trial.set_user_attr("seconds", seconds)
        trial.set_user_attr("error", error)
        states = self._optuna.trial.TrialState
        if state == "complete":
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=states.PRUNED if state == "pruned" else states.FAIL)

    def trials(self) -> tuple[Trial, ...]:
        """The finished trials, numbered without those that were interrupted."""
        return tuple(
            Trial(
                number=number,
                state=_state(trial.state.name),
                settings=dict(trial.params),
                value=_last_value(trial),
                std_error=trial.user_attrs.get("std_error"),
                seconds=float(trial.user_attrs.get("seconds", 0.0)),
                error=str(trial.user_attrs.get("error", "")),
            )
            for number, trial in enumerate(self._finished())
        )

    def importance(self) -> dict[str, float]:
        """Share of each setting in what sets the best trials apart; empty below 20 complete trials."""
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        if sum(trial.state.name == "COMPLETE" for trial in self._study.trials) < _TRIALS_TO_WEIGH_BY:
            return {}
        shares = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        total = sum(shares.values())
        return {name: share / total for name, share in shares.items()} if total > 0 else {}

    def _open(self, path: str | os.PathLike[str] | None, direction: str) -> optuna.Study:
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        storage = None
        if path is not None:
            file = Path(path).resolve()
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                storage = self._optuna.storages.RDBStorage(f"sqlite:///{file}")
            except Exception as cause:  # SQLAlchemy's errors, whose types are not Optuna's interface
                raise FormatError(f"study: expected a study or no file at {str(path)!r}; {cause}.") from None
        study: optuna.Study = self._optuna.create_study(
            storage=storage, study_name=_NAME, direction=direction, pruner=self._pruner, load_if_exists=True
        )
        return study

    def _check_about(self, path: str | os.PathLike[str] | None, about: dict[str, Any]) -> None:
        written = self._study.user_attrs.get("about")
        if written is None:
            self._study.set_user_attr("about", about)
        elif written != about:
            raise ConfigError(
                f"study: {str(path)!r} is of another tuning: {_difference(written, about)}; choose another file."
            )

    def _resume(self) -> None:
        """Put the default settings first in line, or again what was being tried when the last process ended."""
        states = self._optuna.trial.TrialState
        known = {name: setting.default for name, setting in self._config_class.model_fields.items()}
        if not self._study.trials:
            self._study.enqueue_trial({n: known[n] for n, s in self._space.items() if _holds(s, known[n])})
        for trial in self._study.trials:
            if trial.state == states.RUNNING:
                self._study.tell(trial.number, state=states.FAIL)
                self._study.enqueue_trial(trial.params)

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = self._study.trials
        # An interrupted trial failed without an error; it is tried again.
        return [t for t in trials if t.state.name in ("COMPLETE", "PRUNED") or t.user_attrs.get("error")]


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            f"tune: expected Optuna, which is not installed for {sys.executable}; pip install 'recsys-core[tune]'."
        ) from None
    return optuna


def _seed(random_state: int, number: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([random_state, number]).generate_state(1)[0])


def _holds(search: Any, value: Any) -> bool:
    """Whether the search could come upon the value."""
    return search.low <= value <= search.high if isinstance(search, SearchRange) else value in search.values


def _state(name: str) -> Literal["complete", "pruned", "failed"]:
    if name == "COMPLETE":
        return "complete"
    return "pruned" if name == "PRUNED" else "failed"


def _last_value(trial: optuna.trial.FrozenTrial) -> float | None:
    if trial.state.name == "FAIL":
        return None
    if trial.state.name == "COMPLETE":
        return float(trial.values[0])
    return float(trial.intermediate_values[max(trial.intermediate_values)])


def _difference(written: dict[str, Any], about: dict[str, Any]) -> str:
    """The first thing in which two descriptions of a tuning differ, in words."""
    name = next(key for key in [*about, *written] if written.get(key) != about.get(key))
    before, now = written.get(name), about.get(name)
    if name == "data":  # digests say nothing to a reader
        return "its data was other data"
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(key for key in [*now, *before] if before.get(key) != now.get(key))
        return f"its {name} was {before.get(key, 'without')} for {key}, now it is {now.get(key, 'without')}"
    return f"its {name} was {before!r}, now it is {now!r}"
