"""``recsys data split``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.options import (
    ColumnsOption,
    ConfigOption,
    DatasetOption,
    PathOption,
    SeparatorOption,
    SetOption,
    SplitOption,
)
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "split")(data_split)


def data_split(
    out: Output,
    dataset: DatasetOption = None,
    path: PathOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the parts.")] = Path(
        "split"
    ),
    split: SplitOption = None,
    columns: ColumnsOption = None,
    separator: SeparatorOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace parts that are there already.")] = False,
) -> None:
    """Write the train and test parts of interactions as Parquet.

    The files have the columns user_id, item_id, weight and, where known, datetime. A split by users writes a third
    file, history.parquet: what a model is told about the held-out users.
    """
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.sources import load_interactions, make_split
    from recsys_core.errors import ConfigError

    flags = run_flags(path=path, dataset=dataset, columns=columns, separator=separator, split=split)
    run = read_run_config(config, settings or (), flags=flags)
    interactions = load_interactions(out, run.data)
    parts = make_split(interactions, run.split)
    named = {"train": parts.train, "test": parts.test, "history": parts.history}
    files = {name: output / f"{name}.parquet" for name, part in named.items() if part is not None}
    present = [str(file) for file in files.values() if file.exists()]
    if present and not overwrite:
        raise ConfigError(f"--output: {', '.join(present)} exists already; choose another folder or pass --overwrite.")
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, file in files.items():
        part = named[name]
        assert part is not None
        part.to_frame().write_parquet(file)
        rows.append(
            {"part": name, "events": len(part), "users": part.n_users, "items": part.n_items, "file": str(file)}
        )
    unknown = parts.unknown_to_train()
    out.data(
        {
            "source": interactions.source,
            "method": run.split.method,
            "settings": run.split.model_dump(mode="json"),
            "parts": rows,
            "unknown_to_train": unknown,
        }
    )
    out.table(rows, title=f"Split by {run.split.method}")
    out.note(
        f"Not in train: {unknown['unknown_users']} of {unknown['test_users']} test users, "
        f"{unknown['unknown_items']} of {unknown['test_items']} test items, which have "
        f"{unknown['unknown_item_events']} of {unknown['test_events']} test events."
    )
    if unknown["unknown_history_events"]:
        out.note(
            f"{unknown['unknown_history_events']} of {unknown['history_events']} events of the histories are of items "
            "that are not in train."
        )
