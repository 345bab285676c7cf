"""``recsys tune``."""

from __future__ import annotations

from pathlib import Path
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

_SHOWN_TRIALS = 10


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "tune")(tune)


def tune(
    out: Output,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A model's name, such as als.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to write; runs/MODEL-tuning if left out."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, metavar="N", help="Trials in all, 50 if left out.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", metavar="MINUTES", help="Begin no trial after so long.")
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
    """Look for a model's best settings, on a validation part of the training part.

    The test part of the split is not looked at. The folder gets study.db, from which the same command goes on after
    an interruption, report.html with plots, and best.toml, which `recsys evaluate`, `compare` and `fit` take as
    `--config`. The first metric decides, at the first k. Settings given with `--set model.NAME=VALUE` are held.

    For example: `recsys tune als --dataset ml-100k --trials 30`, then
    `recsys evaluate --config runs/als-tuning/best.toml`
    """
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.run_file import run_file
    from recsys_core.cli.sources import load_interactions, make_split
    from recsys_core.metrics import RatingMetric, split_name
    from recsys_core.registry.evaluation import find_metric
    from recsys_core.tuning import Trial, write_report
    from recsys_core.tuning import tune as search

    flags = run_flags(
        model=model, path=path, dataset=dataset, columns=columns, separator=separator, split=split, k=k, metric=metric,
        trials=trials, max_minutes=max_minutes,
    )  # fmt: skip
    run = read_run_config(config, settings or (), flags=flags)
    request = run.model()
    validation, space = run.validation, run.tune.searches()
    leading = run.evaluate.metrics[0] if run.evaluate.metrics else "ndcg"
    if split_name(leading)[1] is None and not isinstance(find_metric(leading), RatingMetric):
        leading = f"{leading}@{run.evaluate.k[0]}"
    target = Path("runs") / f"{request.name.rpartition(':')[2]}-tuning" if output is None else output
    interactions = load_interactions(out, run.data)
    train = make_split(interactions, run.split).train
    n_trials = run.tune.n_trials
    with out.progress(f"tune {request.name}") as progress:

        def on_trial(trial: Trial) -> None:
            value = "" if trial.value is None else f" {leading} {trial.value:.4f},"
            out.note(
                f"  trial {trial.number} {trial.state}:{value} {trial.seconds:.1f} s{trial.error and '; '}{trial.error}"
            )
            progress(trial.number + 1, n_trials)

        tuning = search(
            request.name,
            train,
            validation=lambda part: make_split(part, validation),
            metric=leading,
            n_trials=n_trials,
            max_seconds=None if run.tune.max_minutes is None else 60 * run.tune.max_minutes,
            settings=request.settings,
            space=space,
            study=target / "study.db",
            prune=run.tune.prune,
            filter_seen=run.evaluate.filter_seen,
            random_state=run.tune.random_state,
            n_threads=threads,
            on_trial=on_trial,
        )
    best = tuning.best
    comment = f"Best of {len(tuning.trials)} trials by {leading} on a validation part: {best.value:.4f}."
    (target / "best.toml").write_text(
        run_file(run, request.name, tuning.best_settings, comment=comment), encoding="utf-8"
    )
    write_report(tuning, target / "report.html")
    out.data(
        {
            "output": str(target),
            "model": request.name,
            "metric": leading,
            "split": {"method": run.split.method, **run.split.model_dump(mode="json")},
            "validation": {"method": validation.method, **validation.model_dump(mode="json")},
            "best": {"trial": best.number, "value": best.value, "std_error": best.std_error},
            "settings": tuning.best_settings,
            "importance": dict(tuning.importance),
            "n_trials": tuning.counts,
            "trials": tuning.to_frame().to_dicts(),
        }
    )
    rows = [
        {"trial": trial.number, leading: trial.value, "±": trial.std_error}
        | {name: trial.settings.get(name) for name in tuning.space}
        for trial in tuning.ranked(_SHOWN_TRIALS)
    ]
    found = ", ".join(f"{count} {state}" for state, count in tuning.counts.items())
    out.table(rows, title=f"Best trials of {request.name}", caption=f"{found}; on the validation part alone")
    if tuning.importance:
        out.fields({name: f"{100 * share:.0f}%" for name, share in tuning.importance.items()}, title="Importance")
    out.fields({"report": target / "report.html", "settings": target / "best.toml"}, title="Written")
    out.note(f"Next: recsys evaluate --config {target / 'best.toml'}")
