"""A run: what a TOML file, ``--set`` and the flags say together, checked.

.. code-block:: toml

    [data]
    path = "ratings.csv"                      # or dataset = "ml-100k"
    columns = { user_id = "userId", item_id = "movieId", weight = "rating", datetime = "timestamp" }

    [model]
    name = "als"
    n_factors = 128

    [split]
    method = "global_time"
    test_fraction = 0.2

    [evaluate]
    k = [10]
    metrics = ["ndcg", "recall", "coverage"]

    [models.als_small]                        # for `recsys compare`: one table a model
    name = "als"
    n_factors = 16

    [tune]                                    # for `recsys tune`
    n_trials = 100
    space = { n_factors = { low = 16, high = 512, log = true }, solver = ["cholesky", "cg"] }

A flag overrides ``--set``, which overrides the file.
"""

from __future__ import annotations

import datetime as dt
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from recsys_core.data import TimeUnit
from recsys_core.errors import ConfigError, FormatError
from recsys_core.models import Config, SearchChoices, SearchRange, build_config

__all__ = [
    "DataSection",
    "EvaluateSection",
    "GlobalTimeSplit",
    "LeaveLastSplit",
    "ModelRequest",
    "RandomSplit",
    "RunConfig",
    "SplitSection",
    "TuneSection",
    "UsersSplit",
    "read_run_config",
    "run_flags",
    "toml_value",
]

_SECTIONS: Final = ("data", "model", "models", "split", "evaluate", "tune")


class DataSection(Config):
    """Where the interactions come from: either ``path`` or ``dataset``."""

    path: str | None = Field(None, description="CSV, TSV or Parquet file of interactions.")
    dataset: str | None = Field(None, description="Name of a registered data set.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the data set's loader.")
    columns: dict[str, str | None] = Field(default_factory=dict, description="Part to name of the column.")
    item_features: str | None = Field(None, description="File with one row an item, such as its title.")
    user_features: str | None = Field(None, description="File with one row a user.")
    time_unit: TimeUnit | None = Field(None, description="Unit of times that are numbers; guessed if left out.")
    separator: str | None = Field(None, description="Between the fields of a text file; told from the suffix.")


class SplitSection(Config):
    """Base of the settings of a split."""

    method: ClassVar[str]


class GlobalTimeSplit(SplitSection):
    """Everything from one moment on is the test part."""

    method: ClassVar[str] = "global_time"
    test_fraction: float | None = Field(None, gt=0, lt=1, description="Share of the events; 0.2 without `at`.")
    at: dt.datetime | dt.date | str | None = Field(None, description="First moment of the test part.")


class LeaveLastSplit(SplitSection):
    """Each user's last events are the test part."""

    method: ClassVar[str] = "leave_last"
    n: int = Field(1, ge=1, description="Events of each user to hold out.")


class RandomSplit(SplitSection):
    """A random part of the user-item pairs is the test part."""

    method: ClassVar[str] = "random"
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the pairs.")
    per_user: bool = Field(True, description="Take that share of each user's pairs.")
    random_state: int = Field(0, ge=0, description="Seed.")


class UsersSplit(SplitSection):
    """Whole users are held out, and asked about by their earlier events."""

    method: ClassVar[str] = "users"
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the users.")
    history_fraction: float = Field(0.8, gt=0, lt=1, description="Share of a user's events that the model is given.")
    random_state: int = Field(0, ge=0, description="Seed.")


_SPLITS: Final = {split.method: split for split in (GlobalTimeSplit, LeaveLastSplit, RandomSplit, UsersSplit)}


class EvaluateSection(Config):
    """How to measure."""

    k: list[int] = Field([10], min_length=1, description="Lengths of the lists.")
    metrics: list[str] | None = Field(None, description="Metrics; a standard choice if left out.")
    filter_seen: bool = Field(True, description="Leave out what the user had in training.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")


class TuneSection(Config):
    """How to tune."""

    n_trials: int = Field(50, ge=1, description="Trials of the study, those of an earlier run included.")
    max_minutes: float | None = Field(None, gt=0, description="Begin no trial after so long; no limit if left out.")
    prune: bool = Field(True, description="Give up early on trials that lag behind the median of the others.")
    random_state: int = Field(0, ge=0, description="Seed of the draws.")
    validation: dict[str, Any] | None = Field(
        None, description="How to part the training part, as in [split]; as [split] does if left out."
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="Setting to where to look: { low, high, log } or a list of values; the model's config says else.",
    )

    def searches(self) -> dict[str, SearchRange | SearchChoices]:
        """The entries of ``space``.

        Raises
        ------
        ConfigError
            One is neither a range nor a list of two or more values.
        """
        return {name: _search(f"tune.space.{name}", value) for name, value in self.space.items()}


@dataclass(frozen=True)
class ModelRequest:
    """A model to make: what to call it in tables, the registered name, and its settings."""

    label: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunConfig:
    """A checked run."""

    data: DataSection
    split: SplitSection
    evaluate: EvaluateSection
    model_table: dict[str, Any]
    model_tables: dict[str, dict[str, Any]]
    tune: TuneSection
    assigned: tuple[tuple[str, ...], ...] = ()
    """What ``--set`` assigned, by the parts of its name: to assign what a command does not read is a mistake."""

    @property
    def validation(self) -> SplitSection:
        """How to part the training part for tuning: ``tune.validation``, or as the test part is split off."""
        if self.tune.validation is not None:
            return _split_section(self.tune.validation, "tune.validation")
        # The moment that parts train from test cannot part train itself.
        at = isinstance(self.split, GlobalTimeSplit) and self.split.at is not None
        return build_config(GlobalTimeSplit, {}) if at else self.split

    def model(self) -> ModelRequest:
        """The one model, of the ``[model]`` table.

        Raises
        ------
        ConfigError
            Neither names a model.
        """
        settings = dict(self.model_table)
        chosen = settings.pop("name", None)
        if chosen is None:
            raise ConfigError("model: expected a name, got none; name one, such as als (`recsys models list`).")
        for names in self.assigned:
            if names[0] == "models":
                raise ConfigError(
                    f"--set: expected settings of the one model, got {'.'.join(names)}; "
                    f"use model.{'.'.join(names[2:])}."
                )
        return ModelRequest(chosen, chosen, settings)

    def models(self, labels: Iterable[str]) -> list[ModelRequest]:
        """The models of a comparison: those labels, or every ``[models.LABEL]`` table if there are none.

        Raises
        ------
        ConfigError
            There is no model, or one label twice, or ``--set`` names a setting of another.
        """
        chosen = list(labels) or list(self.model_tables)
        if not chosen:
            raise ConfigError(
                "models: expected names of models to compare, got none; name some, such as popularity als ease, "
                "or write [models.LABEL] tables in the run file."
            )
        twice = sorted({label for label in chosen if chosen.count(label) > 1})
        if twice:
            raise ConfigError(f"models: expected each label once, got {', '.join(twice)} more than once.")
        for names in self.assigned:
            if names[0] == "model":
                raise ConfigError(
                    f"--set: expected settings of a model by its label, got {'.'.join(names)}; use "
                    f"models.{chosen[0]}.{'.'.join(names[1:])}."
                )
            if names[0] == "models":
                _check_names("--set: models", names[1:2], tuple(chosen))
        requests = []
        for label in chosen:
            settings = dict(self.model_tables.get(label, {}))
            requests.append(ModelRequest(label, settings.pop("name", label), settings))
        return requests


def read_run_config(
    path: Path | None = None,
    assignments: Iterable[str] = (),
    *,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunConfig:
    """Put a run together.

    Parameters
    ----------
    path
        A TOML file, or None.
    assignments
        Strings like ``"model.n_factors=128"``; the value is TOML, and what is no TOML is a string.
    flags
        Section to key to value; None as a value means that the flag was not given.

    Raises
    ------
    ConfigError
        A section, a key or a value is wrong; near names are suggested.
    FormatError
        The file cannot be read.
    """
    tables = _read_toml(path) if path is not None else {}
    given = [_parse_assignment(assignment) for assignment in assignments]
    assigned = tuple(names for names, _ in given)
    given += [
        ((section, key), value)
        for section, values in (flags or {}).items()
        for key, value in values.items()
        if value is not None
    ]
    # Before any setting of the command line is in the tables, so that only those of the file can go.
    _drop_replaced(tables, dict(given))
    for names, value in given:
        _assign(tables, names, value)
    _check_names("section", tables, _SECTIONS)
    return RunConfig(
        data=build_config(DataSection, tables.get("data", {}), model="data"),
        split=_split_section(tables.get("split", {})),
        evaluate=build_config(EvaluateSection, tables.get("evaluate", {}), model="evaluate"),
        model_table=tables.get("model", {}),
        model_tables=tables.get("models", {}),
        tune=build_config(TuneSection, tables.get("tune", {}), model="tune"),
        assigned=assigned,
    )


def run_flags(
    *,
    model: str | None = None,
    path: Path | None = None,
    dataset: str | None = None,
    columns: str | None = None,
    separator: str | None = None,
    split: str | None = None,
    k: list[int] | None = None,
    metric: list[str] | None = None,
    trials: int | None = None,
    max_minutes: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The tables that the flags of these names stand for, as :func:`read_run_config` takes them.

    Raises
    ------
    ConfigError
        ``columns`` is not of the form ``user_id=userId,item_id=movieId``.
    """
    return {
        "data": {
            "path": None if path is None else str(path),
            "dataset": dataset,
            "columns": None if columns is None else _parse_columns(columns),
            "separator": "\t" if separator in ("tab", "\\t") else separator,  # which no shell types easily
        },
        "model": {"name": model},
        "split": {"method": split},
        "evaluate": {"k": k, "metrics": metric},
        "tune": {"n_trials": trials, "max_minutes": max_minutes},
    }


def _parse_columns(text: str) -> dict[str, str | None]:
    columns: dict[str, str | None] = {}
    for pair in text.split(","):
        part, equals, name = pair.partition("=")
        if not equals:
            raise ConfigError(f"--columns: expected PART=NAME pairs separated by commas, got {pair!r}.")
        columns[part.strip()] = name.strip() or None
    return columns


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FormatError(f"--config: expected a file, got {str(path)!r}, which does not exist.")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise FormatError(f"{path}: expected TOML; {fault}.") from None
    _check_names("section", tables, _SECTIONS)
    for section, table in tables.items():
        _check_table(section, table)
    for label, table in tables.get("models", {}).items():
        _check_table(f"models.{label}", table)
    return tables


def _check_table(section: str, table: Any) -> None:
    if not isinstance(table, dict):
        raise ConfigError(f"{section}: expected a table, got {table!r}; write [{section}] and its settings below it.")


def _drop_replaced(tables: dict[str, Any], given: Mapping[tuple[str, ...], Any]) -> None:
    """Take out of the file's tables what belongs to a model, source or split method that another one replaces."""
    model = tables.get("model", {})
    if model.get("name") != given.get(("model", "name"), model.get("name")):
        model.clear()
    if ("data", "path") in given or ("data", "dataset") in given:
        keys = ("path", "dataset", "options") + (("columns", "separator") if ("data", "dataset") in given else ())
        for key in keys:
            tables.get("data", {}).pop(key, None)
    table = tables.get("split", {})
    written = table.get("method", GlobalTimeSplit.method)
    chosen = given.get(("split", "method"), written)
    # A key that neither method has is a mistake in the file, and stays there to be reported.
    if {str(written), str(chosen)} <= set(_SPLITS):
        for key in set(_SPLITS[written].model_fields) - set(_SPLITS[chosen].model_fields):
            table.pop(key, None)


def _parse_assignment(assignment: str) -> tuple[tuple[str, ...], Any]:
    dotted, equals, text = assignment.partition("=")
    names = tuple(part.strip() for part in dotted.split("."))
    if not equals or len(names) < 2 or not all(names):
        raise ConfigError(f"--set: expected SECTION.KEY=VALUE, such as model.n_factors=128, got {assignment!r}.")
    _check_names("section", names[:1], _SECTIONS)
    if names[0] == "models" and len(names) == 2:
        raise ConfigError(f"--set: expected models.LABEL.KEY=VALUE, got {assignment!r}.")
    return names, toml_value(text.strip())


def _assign(tables: dict[str, Any], names: tuple[str, ...], value: Any) -> None:
    *sections, key = names
    table = tables
    for name in sections:
        table = table.setdefault(name, {})
        _check_table(".".join(sections), table)
    table[key] = value


def toml_value(text: str) -> Any:
    """The value of a setting on the command line: TOML, and what is no TOML is a string."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _split_section(table: Mapping[str, Any], where: str = "split") -> SplitSection:
    settings = dict(table)
    method = settings.pop("method", GlobalTimeSplit.method)
    _check_names(f"{where}.method", [method], tuple(_SPLITS))
    return build_config(_SPLITS[method], settings, model=f"{where} ({method})")


def _search(where: str, value: Any) -> SearchRange | SearchChoices:
    if isinstance(value, list):
        return SearchChoices(tuple(value))
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        raise ConfigError(
            f"{where}: expected {{ low = 1, high = 10 }}, log = true besides where wanted, or a list of values, "
            f"got {value!r}."
        )
    return SearchRange(**value)


def _check_names(what: str, given: Iterable[Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            remedy = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{what}: expected one of {', '.join(known)}, got {name!r}.{remedy}")
