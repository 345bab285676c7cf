"""``recsys recommend``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.ids import askers, check_askers, ids_of, listed
from recsys_core.cli.options import RerankerOption, UserFeaturesOption
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    import polars as pl

__all__ = ["naming_features", "register", "with_features"]


_FALLBACK = "--on-unknown fallback gives the popular items to those about whom nothing is known."


class Backend(StrEnum):
    """What computes the answers."""

    onnx = "onnx"
    core = "core"


class OnUnknown(StrEnum):
    """What to do about an id that the model does not know."""

    error = "raise"
    warn = "warn"
    ignore = "ignore"
    fallback = "fallback"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "recommend")(recommend)


def recommend(
    out: Output,
    bundle: Annotated[Path, typer.Argument(help="A bundle's directory.")],
    user: Annotated[
        list[str] | None, typer.Option("--user", "-u", metavar="ID", help="A known user; repeatable.")
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(
            "--history",
            metavar="ID,ID,...",
            help="Items that somebody had, known to the model or not; repeatable. Quote an id that has a comma, as in "
            "CSV.",
        ),
    ] = None,
    user_features: UserFeaturesOption = None,
    k: Annotated[int, typer.Option("--k", min=1, metavar="K", help="Items for each.")] = 10,
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen/--keep-seen", help="Leave out what the user had already.")
    ] = True,
    allow: Annotated[str | None, typer.Option("--allow", metavar="ID,ID,...", help="Only these items.")] = None,
    deny: Annotated[str | None, typer.Option("--deny", metavar="ID,ID,...", help="None of these items.")] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="NAME", help="An item feature to show; titles and such if left out."),
    ] = None,
    on_unknown: Annotated[
        OnUnknown,
        typer.Option("--on-unknown", help="About unknown ids: fail, warn, leave out, or give the popular items."),
    ] = OnUnknown.error,
    reranker: RerankerOption = None,
    backend: Annotated[Backend, typer.Option("--backend", help="onnxruntime, or the compiled core.")] = Backend.onnx,
    threads: Annotated[int, typer.Option("--threads", min=0, metavar="N", help="Threads, 0 for all.")] = 0,
) -> None:
    """Recommend items from a bundle, to users it knows or to histories it has never seen.

    For example: `recsys recommend runs/als --user 42 --user 7 --k 5`, or for somebody new
    `recsys recommend runs/als --history 50,181,172`, or by what else is known of people
    `recsys recommend runs/two_tower --user-features people.csv`
    """
    from recsys_core.cli.reranking import read_reranker
    from recsys_core.runtime import load

    check_askers(user, history, user_features)
    reranking = read_reranker(reranker)
    model = load(bundle, backend=backend.value, n_threads=threads)
    asked = model if reranking is None else reranking.behind(model)
    question = askers(user, history, model, user_features)
    table = asked.recommend(
        **question,
        k=k,
        filter_seen=filter_seen,
        allow=None if allow is None else ids_of(listed(allow), model.items, "--allow"),
        deny=None if deny is None else ids_of(listed(deny), model.items, "--deny"),
        on_unknown=on_unknown.value,
        n_threads=threads,
    )
    table = with_features(table, model.item_features, feature)
    labels = table["user_id"].unique(maintain_order=True).to_list()
    out.data(
        {
            "bundle": str(bundle),
            "model": model.manifest["model"]["name"],
            "backend": backend.value,
            "k": k,
            "asked_by": "user" if user else "history" if history else "user_features",
            "recommendations": table.to_dicts(),
        }
    )
    called = _called(history, question.get("user_features"))
    for label in labels:
        rows = table.filter(table["user_id"] == label).drop("user_id").to_dicts()
        kind, name = called.get(label, ("user", label))
        out.table(rows, title=f"For {kind} {name}")
    if not labels:
        out.note(f"Nothing to recommend: no known id was given, or the filters leave no item. {_FALLBACK}")
        return
    for kind, name in (called[label] for label in called if label not in labels):
        out.note(f"Nothing for {kind} {name!r}: the model knows no item of it, or the filters leave none. {_FALLBACK}")


def _called(histories: Sequence[str] | None, described: pl.DataFrame | None) -> dict[Any, tuple[str, Any]]:
    """What to call those who are no known users, by their labels in the answer."""
    if described is not None and "user_id" in described.columns:
        return {label: ("user", label) for label in described["user_id"]}
    rows: Sequence[Any] = histories or range(1, 1 + (0 if described is None else len(described)))
    return {label: ("history" if histories else "row", row) for label, row in enumerate(rows)}


def with_features(table: pl.DataFrame, features: pl.DataFrame | None, names: list[str] | None = None) -> pl.DataFrame:
    """Put item features beside the recommendations: the named ones, else the first two that are text.

    Raises
    ------
    ConfigError
        A feature is not there.
    """
    from recsys_core.errors import ConfigError

    order = ["user_id", "rank", "item_id", "score"]
    there = [] if features is None else features.columns[1:]
    missing = [name for name in names or () if name not in there]
    if missing:
        raise ConfigError(
            f"--feature: expected one of {', '.join(there) or '(the bundle has none)'}, got {', '.join(missing)}."
        )
    if features is None:
        return table.select(order)
    chosen = names or naming_features(features)[:2]  # the rest of a wide table would not fit a line
    joined = table.join(features.select("item_id", *chosen), on="item_id", how="left", maintain_order="left")
    return joined.select([*order, *chosen])


def naming_features(features: pl.DataFrame) -> list[str]:
    """The item features that identify an item to a person: those that are text."""
    import polars as pl

    return [name for name in features.columns[1:] if features[name].dtype == pl.String]
