"""``recsys quickstart``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    import polars as pl

    from recsys_core.cli.experiment import Trial
    from recsys_core.cli.run_config import RunConfig
    from recsys_core.data import Interactions
    from recsys_core.models import FittedModel

__all__ = ["register"]

_MODELS: Final = ("popularity", "item_knn", "ease", "als", "explicit_mf", "bpr")
_TITLES: Final = ("Alien", "Aliens", "Blade Runner", "Terminator, The")
"""What the stranger of the last step has seen, where the data set has films."""
_SHOWN: Final = 5


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "quickstart")(quickstart)


def quickstart(
    out: Output,
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="A registered data set.")] = "ml-100k",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The bundle to write.")] = Path(
        "runs/quickstart"
    ),
    threads: Annotated[int, typer.Option("--threads", min=0, metavar="N", help="Threads for ranking, 0 for all.")] = 0,
) -> None:
    """Go the whole road once: data, models, comparison, ONNX, recommendations.

    Takes a public data set, audits it, fits six models, compares them on the days that follow, exports the best one
    that can serve strangers, and recommends with onnxruntime. An earlier bundle in the output directory is replaced.
    """
    from recsys_core.cli.experiment import run_trials
    from recsys_core.cli.run_config import read_run_config
    from recsys_core.cli.sources import make_split
    from recsys_core.runtime import load

    started = time.perf_counter()
    interactions, audited = _load(out, dataset)
    method = "leave_last" if interactions.datetime is None else "global_time"
    run = read_run_config(flags={"split": {"method": method}})

    out.heading(f"\n2  Fit {len(_MODELS)} models on the past")
    split = make_split(interactions, run.split)
    trials = run_trials(out, split, run.models(_MODELS), run.evaluate, threads)
    out.paragraph(
        f"Trained on {len(split.train):,} events, tested on the {len(split.test):,} "
        + ("that came later." if method == "global_time" else "last ones of each user.")
    )
    paired = _compare(out, trials, run)

    chosen = next(trial for trial in trials if trial.model.form.accepts_histories)
    manifest = _export(out, chosen, interactions, output)

    out.heading("\n5  Recommend, through onnxruntime alone")
    model = load(output)
    answers = [_for_known_user(out, model), _for_stranger(out, model)]

    seconds = time.perf_counter() - started
    out.data(
        {
            "dataset": dataset,
            "source": interactions.source,
            "audit": audited,
            "split": {"method": method, **run.split.model_dump(mode="json")},
            "models": [trial.to_dict(run.evaluate.confidence) for trial in trials],
            "paired": paired,
            "chosen": chosen.request.label,
            "bundle": str(output),
            "parity": manifest["parity"],
            "recommendations": answers,
            "seconds": seconds,
        }
    )
    out.heading(f"\nDone in {seconds:.0f} s. Three commands to try next:")
    out.text(f"  recsys recommend {output} --user {model.users.ids[0]} --k 5")
    out.text(f"  recsys models show {chosen.request.name}")
    out.text(f"  recsys compare ease als --dataset {dataset} --set models.als.n_factors=128")


def _load(out: Output, dataset: str) -> tuple[Interactions, dict[str, Any]]:
    from recsys_core import data
    from recsys_core.cli.commands.data_audit import print_audit
    from recsys_core.cli.sources import load_dataset

    out.heading(f"1  Data: {dataset}")
    interactions = load_dataset(out, dataset, {})
    report = data.audit(interactions)
    print_audit(out, report, interactions.source)
    return interactions, report.to_dict()


def _compare(out: Output, trials: list[Trial], run: RunConfig) -> dict[str, Any]:
    from recsys_core import metrics
    from recsys_core.cli.experiment import leading_metric, paired_text, trial_rows

    best, second = trials[0].evaluation, trials[1].evaluation
    leading, confidence = leading_metric(best), run.evaluate.confidence
    out.heading("\n3  Compare them on what came next, every item a candidate")
    out.table(trial_rows(trials, confidence))
    out.paragraph(
        f"{best.n_users:,} users with {best.n_relevant:,} relevant items; "
        f"{best.n_users_skipped:,} users are new in the test part, and left out."
    )
    comparison = metrics.compare(best, second, metric=leading, confidence=confidence)
    out.paragraph(paired_text(comparison, leading))
    return comparison.to_dict()


def _export(out: Output, chosen: Trial, interactions: Interactions, output: Path) -> dict[str, Any]:
    """Fit the chosen model on all the data and save it as a bundle."""
    import math

    from recsys_core.bundle import save_bundle
    from recsys_core.bundle.manifest import read_manifest
    from recsys_core.registry import create

    label = chosen.request.label
    out.heading(f"\n4  Export {label}, fitted again on all the data")
    model = create(chosen.request.name, **chosen.request.settings)
    with out.progress(f"fit {label}") as progress:
        model.fit(interactions, progress=progress)
    figures = {name: value for name, value in chosen.evaluation.values.items() if not math.isnan(value)}
    save_bundle(model, output, metrics=figures, overwrite=True)
    manifest = read_manifest(output)
    out.fields(
        {
            "bundle": output,
            "files": sorted(manifest["files"]),
            "parity": f"ONNX gives the model's answers: largest relative difference "
            f"{manifest['parity']['max_error']:.1e}, allowed {manifest['parity']['tolerance']:.0e}",
        }
    )
    return manifest


def _for_known_user(out: Output, model: FittedModel) -> dict[str, Any]:
    """Recommend to a user of median activity, beside what that user had last."""
    import numpy as np

    lengths = np.diff(model.histories.indptr)
    position = int(np.argsort(lengths, kind="stable")[len(lengths) // 2])
    user = model.users.ids[position]
    last = model.histories.rows(np.array([position])).indices[::-1][:_SHOWN]
    had = model.items.labels(last.astype(np.int64))
    table = _described(model.recommend(user, k=_SHOWN), model)
    out.paragraph(f"User {user} had {lengths[position]} items, the last: {'; '.join(_names(model, had))}")
    out.table(table.drop("user_id").to_dicts(), title=f"For user {user}")
    return {"user": user, "recommendations": table.to_dicts()}


def _for_stranger(out: Output, model: FittedModel) -> dict[str, Any]:
    """Recommend to a history that is nobody's in the data."""
    history = _history_by_title(model)
    table = _described(model.recommend(histories=[history.to_list()], k=_SHOWN), model)
    out.paragraph(f"Somebody the model never saw had: {'; '.join(_names(model, history))}")
    out.table(table.drop("user_id").to_dicts(), title="For this history")
    return {"history": history.to_list(), "recommendations": table.to_dicts()}


def _history_by_title(model: FittedModel) -> pl.Series:
    """The items of ``_TITLES``, or the most popular ones where there are no such titles."""
    import numpy as np

    features = model.item_features
    if features is not None and "title" in features.columns:
        found = features.filter(features["title"].is_in(_TITLES)).unique("title", keep="first", maintain_order=True)
        if len(found):
            return found["item_id"]
    popular = np.argsort(-np.bincount(model.histories.indices, minlength=len(model.items)), kind="stable")
    return model.items.labels(popular[: len(_TITLES)])


def _names(model: FittedModel, items: pl.Series) -> list[str]:
    features = model.item_features
    if features is None or "title" not in features.columns:
        return [str(item) for item in items]
    titles = features["title"].gather(model.items.index_of(items))
    return [str(item) if title is None else title for item, title in zip(items, titles, strict=True)]


def _described(table: pl.DataFrame, model: FittedModel) -> pl.DataFrame:
    from recsys_core.cli.commands.recommend import with_features

    return with_features(table, model.item_features)
