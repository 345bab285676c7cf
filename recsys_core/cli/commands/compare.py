"""``recsys compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.options import (
    ColumnsOption,
    ConfigOption,
    DatasetOption,
    KOption,
    MetricOption,
    PathOption,
    SeparatorOption,
    SetOption,
    SplitOption,
    ThreadsOption,
)
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "compare")(compare)


def compare(
    out: Output,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Names of models, or labels of [models.LABEL] tables."),
    ] = None,
    dataset: DatasetOption = None,
    path: PathOption = None,
    columns: ColumnsOption = None,
    separator: SeparatorOption = None,
    split: SplitOption = None,
    k: KOption = None,
    metric: MetricOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Fit several models on one split and rank them, best first.

    The first metric that has a value for each user decides; the best model is tested against the second, user by user.

    For example: `recsys compare popularity als ease --dataset ml-100k --set models.als.n_factors=128`
    """
    from recsys_core import metrics
    from recsys_core.cli.experiment import (
        leading_metric,
        paired_text,
        predicted_note,
        run_trials,
        trial_rows,
        undecided_note,
    )
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.sources import load_interactions, make_split
    from recsys_core.data.validation import counted

    flags = run_flags(path=path, dataset=dataset, columns=columns, separator=separator, split=split, k=k, metric=metric)
    run = read_run_config(config, settings or (), flags=flags)
    requests = run.models(models or ())
    interactions = load_interactions(out, run.data)
    parts = make_split(interactions, run.split)
    trials = run_trials(out, parts, requests, run.evaluate, threads)
    confidence = run.evaluate.confidence
    leading = leading_metric(trials[0].evaluation)
    paired = None
    if len(trials) > 1 and leading in trials[0].evaluation.per_user.columns:
        paired = metrics.compare(trials[0].evaluation, trials[1].evaluation, metric=leading, confidence=confidence)
    out.data(
        {
            "source": interactions.source,
            "split": {"method": run.split.method, **run.split.model_dump(mode="json")},
            "leading_metric": leading,
            "confidence": confidence,
            "models": [trial.to_dict(confidence) for trial in trials],
            "paired": None if paired is None else paired.to_dict(),
        }
    )
    best = trials[0].evaluation
    out.table(
        trial_rows(trials, confidence),
        title=f"{counted(len(trials), 'model', 'models')}, split by {run.split.method}",
        caption=f"{best.n_users:,} users, {best.n_relevant:,} relevant items; best first by {leading}",
    )
    for trial in trials:
        if trial.evaluation.n_users_undecided:
            out.note(undecided_note(trial.evaluation))
    if best.n_predicted:
        out.note(predicted_note(best))
    if paired is not None:
        out.paragraph(paired_text(paired, leading))
