"""Tuning: what is tried, what is remembered, what is given up."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_core import create, evaluate
from recsys_core.data import Interactions, split_leave_last, split_random
from recsys_core.errors import ConfigError, DataError, FormatError
from recsys_core.models import SearchChoices, SearchRange
from recsys_core.testing import block_interactions
from recsys_core.tuning import Trial, Tuning, tune

TRAIN = block_interactions(120, 60, events_a_user=12)
VALIDATION = partial(split_random, test_fraction=0.3)


def tuned(model: str = "item_knn", **options: Any) -> Tuning:
    return tune(model, TRAIN, **{"validation": VALIDATION, "metric": "ndcg@5", "n_trials": 12, **options})


def told(trials: tuple[Trial, ...]) -> list[tuple[Any, ...]]:
    """A trial without its time."""
    return [(t.number, t.state, dict(t.settings), t.value, t.std_error, t.error) for t in trials]


def test_the_first_trial_has_the_default_settings_and_the_best_is_at_least_as_good() -> None:
    result = tuned()
    first = result.trials[0]
    assert first.settings == {"similarity": "tfidf", "n_neighbors": 50, "binary": False, "shrink": 0.0}
    assert result.best.value == max(trial.value for trial in result.trials)
    assert len({str(trial.settings) for trial in result.trials}) == 12


def test_the_value_is_that_of_the_evaluator_on_the_validation_part() -> None:
    result = tuned(n_trials=4, settings={"similarity": "bm25"})
    assert "similarity" not in result.space
    assert "shrink" not in result.space
    assert result.best_settings["similarity"] == "bm25"
    parts = VALIDATION(TRAIN)
    model = create("item_knn", **result.best_settings).fit(parts.train)
    evaluation = evaluate(model, parts, metrics="ndcg@5")
    assert result.best.value == evaluation.values["ndcg@5"]
    assert result.best.std_error == evaluation.to_frame()["std_error"][0]


def test_only_settings_with_an_effect_are_drawn() -> None:
    for trial in tuned(n_trials=15).trials:
        assert ("bm25_k1" in trial.settings) == (trial.settings["similarity"] == "bm25")
        assert ("shrink" in trial.settings) == (trial.settings["similarity"] != "bm25")


def test_a_metric_may_be_one_to_minimize() -> None:
    result = tuned(metric="gini@5", n_trials=8)
    assert not result.higher_is_better
    assert result.best.value == min(trial.value for trial in result.trials)
    assert result.best.std_error is None


def test_a_metric_of_ratings_has_no_cut_off() -> None:
    result = tuned("explicit_mf", metric="rmse", n_trials=3, settings={"n_factors": 2})
    assert not result.higher_is_better
    values = [trial.value for trial in result.trials if trial.state == "complete"]
    assert result.best.value == min(values)
    parts = VALIDATION(TRAIN)
    model = create("explicit_mf", **result.best_settings).fit(parts.train)
    assert evaluate(model, parts, metrics="rmse").values["rmse"] == result.best.value


def test_the_seed_makes_the_draws() -> None:
    assert told(tuned().trials) == told(tuned().trials)
    assert told(tuned().trials)[1:] != told(tuned(random_state=1).trials)[1:]


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:  # in the middle of a trial, which stays open in the file, as after a kill
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    monkeypatch.setattr("recsys_core.tuning.tuner.evaluate", interrupted)
    file = tmp_path / "runs" / "study.db"
    with pytest.raises(KeyboardInterrupt):
        tuned(study=file)
    resumed = tuned(study=file)
    assert told(resumed.trials) == told(tuned().trials)
    n_calls = len(calls)
    again = tuned(study=file)
    assert len(calls) == n_calls
    assert told(again.trials) == told(resumed.trials)
    assert again.importance == resumed.importance


def test_more_trials_are_added_to_a_study(tmp_path: Path) -> None:
    seen: list[int] = []
    tuned(study=tmp_path / "study.db", n_trials=3)
    result = tuned(study=tmp_path / "study.db", n_trials=5, on_trial=lambda trial: seen.append(trial.number))
    assert seen == [3, 4]
    assert len(result.trials) == 5


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"metric": "recall@5"}, "metric"),
        ({"filter_seen": False}, "filter_seen"),
        ({"settings": {"binary": True}}, "settings"),
        ({"space": {"n_neighbors": SearchRange(2, 9)}}, "space"),
        ({"random_state": 1}, "random_state"),
        ({"validation": split_leave_last}, "data"),
        ({"model": "ease"}, "model"),
    ],
)
def test_the_file_of_another_study_is_refused(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    tuned(study=tmp_path / "study.db", n_trials=1)
    with pytest.raises(ConfigError, match=f"of another tuning: its {what} was .*; choose another file") as caught:
        tuned(study=tmp_path / "study.db", n_trials=1, **changed)
    assert len(str(caught.value).rpartition("another tuning")[2]) < 200, "what is alike is left out"


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database\n" * 100)
    with pytest.raises(FormatError, match=r"study: expected a study or no file at .*notes\.txt"):
        tuned(study=tmp_path / "notes.txt")


def test_trials_that_lag_behind_are_given_up() -> None:
    # From 4 iterations on the validation metric of a far too strong regularization is hopeless.
    space = {"regularization": SearchChoices((1.0, 2.0, 3.0, 4.0, 5.0, 1e4, 1e5, 1e6))}
    held = {"n_factors": 8, "n_iterations": 40, "observed": False}
    options = {"model": "explicit_mf", "space": space, "settings": held, "n_trials": 16}
    pruned = tuned(**options)
    assert pruned.counts.get("pruned", 0) > 0
    for trial in pruned.trials:
        if trial.state == "pruned":
            assert trial.value is not None
            assert trial.value <= np.median([t.value for t in pruned.trials[: trial.number] if t.state == "complete"])
    assert tuned(**options, prune=False).counts == {"complete": 16}


def test_a_trial_that_fails_is_recorded_and_the_others_go_on() -> None:
    untimed = Interactions.from_csr(TRAIN.to_csr())
    result = tune("popularity", untimed, validation=VALIDATION, n_trials=12)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    for trial in failed:
        assert trial.settings["half_life_days"] is not None
        assert trial.value is None
        assert "half_life_days" in trial.error
    assert result.best.settings["half_life_days"] is None


def test_an_error_of_the_first_trial_is_raised(tmp_path: Path) -> None:
    untimed = Interactions.from_csr(TRAIN.to_csr())
    for _ in range(2):  # and again, although its file remembers a trial
        with pytest.raises(DataError, match="window_days"):
            tune("popularity", untimed, validation=VALIDATION, settings={"window_days": 3}, study=tmp_path / "study.db")


def test_importance_needs_trials_and_finds_what_matters() -> None:
    assert tuned(n_trials=19, settings={"similarity": "cosine"}).importance == {}
    # Of 1, 2 and 60 neighbors, any number of threads.
    space = {"n_neighbors": SearchRange(1, 60, log=True), "n_threads": SearchRange(1, 4)}
    held = {"similarity": "cosine", "binary": True, "shrink": 0.0}
    importance = tuned(n_trials=40, settings=held, space=space).importance
    assert sum(importance.values()) == pytest.approx(1.0)
    assert list(importance) == ["n_neighbors", "n_threads"]


def test_no_trial_is_begun_after_the_time() -> None:
    assert len(tuned(max_seconds=1e9, n_trials=2).trials) == 2
    slow = tuned(max_seconds=1e-9)
    assert len(slow.trials) <= 1


def test_the_table_has_a_row_a_trial_and_a_column_a_setting() -> None:
    result = tuned()
    frame = result.to_frame()
    assert frame.columns == ["number", "state", "value", "std_error", "seconds", "error", *result.space]
    assert frame["value"].max() == result.best.value
    assert frame["n_neighbors"].dtype.is_integer()
    assert [trial.value for trial in result.ranked(3)] == frame["value"].sort(descending=True).head(3).to_list()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": 0}, "n_trials: expected at least 1"),
        ({"metric": "ndcg"}, "metric: expected a cut-off, such as ndcg@10"),
        ({"metric": "ndgc@10"}, "did you mean 'ndcg'"),
        ({"model": "ease", "settings": {"regularization": 1.0}}, "expected settings of ease to search, got none"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tuned(**options)


def test_without_optuna_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'recsys-core\[tune\]'"):
        tuned()
