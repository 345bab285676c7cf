"""``recsys explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.ids import askers, check_askers, ids_of, listed
from recsys_core.cli.options import UserFeaturesOption
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    import polars as pl

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "explain")(explain)


def explain(
    out: Output,
    bundle: Annotated[Path, typer.Argument(help="A bundle's directory.")],
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="A known user.")] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="ID,ID,...", help="Items that somebody had, known to the model or not."),
    ] = None,
    user_features: UserFeaturesOption = None,
    item: Annotated[
        str | None,
        typer.Option("--item", metavar="ID,ID,...", help="Items to explain; those recommended if left out."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, metavar="K", help="Recommended items to explain.")] = 3,
    reasons: Annotated[int, typer.Option("--reasons", min=1, metavar="N", help="Reasons for each, at most.")] = 3,
    threads: Annotated[int, typer.Option("--threads", min=0, metavar="N", help="Threads, 0 for all.")] = 0,
) -> None:
    """Say which items of a history recommendations rest on.

    Each reason stands with what the score would lose without it; features of who asks stay as they are, and are no
    reasons. For example: `recsys explain runs/als --user 42` or
    `recsys explain runs/als --history 50,181,172 --item 174`, and with what else is known of somebody new
    `recsys explain runs/two_tower --history 50,181,172 --user-features person.csv`
    """
    from recsys_core.runtime import load

    users, histories = ([] if one is None else [one] for one in (user, history))
    check_askers(users, histories, user_features)
    model = load(bundle, n_threads=threads)
    asked = askers(users, histories, model, user_features)
    item_ids = None if item is None else ids_of(listed(item), model.items, "--item")
    table = model.explain(**asked, item_ids=item_ids, k=k, n_reasons=reasons, n_threads=threads).drop("user_id")
    out.data({"bundle": str(bundle), "model": model.manifest["model"]["name"], "explanations": table.to_dicts()})
    titles = _titles(model.item_features)
    for part in table.partition_by("item_id", maintain_order=True):
        rows = part.to_dicts()
        named = [
            {
                "because of": row["reason_item_id"],
                **({} if titles is None else {"title": titles.get(row["reason_item_id"], "")}),
                "contribution": row["contribution"],
            }
            for row in rows
        ]
        item_id = rows[0]["item_id"]
        title = "" if titles is None else f" {titles.get(item_id, '')}"
        out.table(named, title=f"{item_id}{title}, score {rows[0]['score']:.4g}")
    if table.is_empty():
        out.note("Nothing to explain: there is no history, or nothing in it changes a score.")


def _titles(features: pl.DataFrame | None) -> dict[Any, str] | None:
    """What to call each item; None where nothing names them."""
    from recsys_core.cli.commands.recommend import naming_features

    names = [] if features is None else naming_features(features)
    return dict(features.select("item_id", names[0]).iter_rows()) if features is not None and names else None
