"""``recsys evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.options import (
    ColumnsOption,
    ConfigOption,
    DatasetOption,
    KOption,
    MetricOption,
    PathOption,
    RerankerOption,
    SeparatorOption,
    SetOption,
    SplitOption,
    ThreadsOption,
)
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys_core.data import Interactions, Split
    from recsys_core.metrics import Evaluation, GroupComparison
    from recsys_core.models import FittedModel

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "evaluate")(evaluate)


def evaluate(
    out: Output,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL | BUNDLE", help="A model's name, or a bundle's directory.")
    ] = None,
    dataset: DatasetOption = None,
    path: PathOption = None,
    columns: ColumnsOption = None,
    separator: SeparatorOption = None,
    split: SplitOption = None,
    k: KOption = None,
    metric: MetricOption = None,
    reranker: RerankerOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FEATURE",
            help="Groups of users to take the values apart by: a feature of theirs, or activity, which is how many "
            "items they have had; repeat for several.",
            rich_help_panel="Evaluation",
        ),
    ] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Measure how well a model ranks, over the whole catalogue.

    A model's name is fitted on the train part of a split and measured on its test part. A bundle is measured, as it
    is, on the given data, which it must not have been trained on.

    For example: `recsys evaluate als --dataset ml-100k --split leave_last --k 10 --k 50`
    """
    from recsys_core.bundle.manifest import MANIFEST
    from recsys_core.cli.experiment import measure, run_trials
    from recsys_core.cli.reranking import read_reranker
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.sources import load_interactions, make_split
    from recsys_core.errors import ConfigError

    is_bundle = model is not None and (Path(model) / MANIFEST).is_file()
    name = None if is_bundle else model
    flags = run_flags(
        model=name, path=path, dataset=dataset, columns=columns, separator=separator, split=split, k=k, metric=metric
    )
    run = read_run_config(config, settings or (), flags=flags)
    reranking = read_reranker(reranker)
    if model is not None and is_bundle:
        if split is not None:
            raise ConfigError("--split: expected none for a bundle, which is measured on all the data given.")
        from recsys_core.data import Split
        from recsys_core.runtime import load

        test = load_interactions(out, run.data)
        fitted = load(model, backend="core")
        parts = Split(_trained_on(fitted), test)
        measured = fitted if reranking is None else reranking.behind(fitted)
        evaluation = measure(out, measured, parts, run.evaluate, label=model, n_threads=threads)
        groups = _by_groups(evaluation, by or (), parts, test, run.evaluate.confidence)
        _print(out, evaluation, groups, run.evaluate.confidence, {"source": test.source, "bundle": model})
        return
    request = run.model()
    interactions = load_interactions(out, run.data)
    parts = make_split(interactions, run.split)
    [trial] = run_trials(out, parts, [request], run.evaluate, threads, reranking)
    about = {
        "source": interactions.source,
        "split": {"method": run.split.method, **run.split.model_dump(mode="json")},
        "settings": trial.model.config.model_dump(mode="json"),
        "fit_seconds": trial.fit_seconds,
    }
    groups = _by_groups(trial.evaluation, by or (), parts, interactions, run.evaluate.confidence)
    _print(out, trial.evaluation, groups, run.evaluate.confidence, about)


def _trained_on(fitted: FittedModel) -> Interactions:
    """What a bundle was trained on, which is in it."""
    import numpy as np

    from recsys_core.data import Interactions

    histories = fitted.histories
    return Interactions(
        users=fitted.users,
        items=fitted.items,
        user_index=np.repeat(np.arange(len(histories), dtype=np.int32), np.diff(histories.indptr)),
        item_index=histories.indices,
        weight=histories.weights,
    )


def _by_groups(
    evaluation: Evaluation, columns: Sequence[str], split: Split, described: Interactions, confidence: float
) -> list[GroupComparison]:
    """The evaluation taken apart by each feature that ``described`` has of its users, or by activity in training."""
    from recsys_core.errors import ConfigError
    from recsys_core.metrics import activity_groups, compare_groups

    table = described.user_features
    there = [] if table is None else table.columns[1:]
    found = []
    for column in columns:
        if column in there:
            found.append(compare_groups(evaluation, table, column, confidence=confidence))
        elif column == "activity":
            found.append(compare_groups(evaluation, activity_groups(split.train), confidence=confidence))
        else:
            raise ConfigError(
                f"--by: expected activity or a feature of the users ({', '.join(there) or 'the data has none'}), "
                f"got {column!r}."
            )
    return found


def _print(
    out: Output, evaluation: Evaluation, groups: list[GroupComparison], confidence: float, about: dict[str, Any]
) -> None:
    from recsys_core.cli.experiment import metric_rows, predicted_note, undecided_note

    rows = metric_rows(evaluation, confidence)
    by = [one.to_dict() for one in groups]
    out.data({**evaluation.to_dict(), **about, "confidence": confidence, "metrics": rows, "groups": by})
    interval = f"{100 * confidence:g}% interval"
    out.table(
        [
            {
                "metric": row["metric"],
                "value": row["value"],
                interval: None if row["low"] is None else f"{row['low']:.4f} - {row['high']:.4f}",
            }
            for row in rows
        ],
        title=evaluation.model,
        caption=f"{evaluation.n_users:,} users, {evaluation.n_relevant:,} relevant items",
    )
    for one in groups:
        out.table(
            [
                {
                    "metric": row.metric,
                    one.column: row.group,
                    "users": row.n_users,
                    "value": row.value,
                    interval: f"{row.low:.4f} - {row.high:.4f}",
                    "to others": row.difference,
                    "p (Holm)": row.p_adjusted,
                }
                for row in one.values
            ],
            title=f"By {one.column}",
        )
        if one.n_without:
            out.note(f"{one.n_without:,} users without a known {one.column} are in no group.")
    if evaluation.n_users_skipped:
        out.note(f"{evaluation.n_users_skipped:,} test users left out: the model knows nothing about them.")
    if evaluation.n_users_undecided:
        out.note(undecided_note(evaluation))
    if evaluation.n_relevant_unknown:
        out.note(f"{evaluation.n_relevant_unknown:,} relevant items are unknown to the model and count as misses.")
    if evaluation.n_predicted:
        out.note(predicted_note(evaluation))
    if evaluation.n_relevant_filtered:
        out.note(
            f"{evaluation.n_relevant_filtered:,} relevant items were left out of the lists, since the user had them "
            "before, and count as misses; --set evaluate.filter_seen=false keeps them in."
        )
    if evaluation.n_history_unknown:
        out.note(f"{evaluation.n_history_unknown:,} events of the histories are of items unknown to the model.")
