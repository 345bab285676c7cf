"""``recsys fit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.options import ColumnsOption, ConfigOption, DatasetOption, PathOption, SeparatorOption, SetOption
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "fit")(fit)


def fit(
    out: Output,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A model's name, such as als.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="The bundle to write; runs/MODEL if left out.")
    ] = None,
    dataset: DatasetOption = None,
    path: PathOption = None,
    columns: ColumnsOption = None,
    separator: SeparatorOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    with_index: Annotated[
        bool, typer.Option("--with-index", help="Write the core's packed item index too, for a start in milliseconds.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Train a model on all the data and save it as a bundle.

    A bundle is a directory with the model as ONNX, checked against the model itself, its ids, its state and a
    manifest. `recsys recommend` runs it; so does onnxruntime in any language.

    For example: `recsys fit als --dataset ml-100k --set model.n_factors=128 -o runs/als`
    """
    from recsys_core.bundle import save_bundle
    from recsys_core.bundle.manifest import read_manifest
    from recsys_core.cli.run_config import read_run_config, run_flags
    from recsys_core.cli.sources import load_interactions
    from recsys_core.errors import ConfigError
    from recsys_core.registry import create

    flags = run_flags(model=model, path=path, dataset=dataset, columns=columns, separator=separator)
    run = read_run_config(config, settings or (), flags=flags)
    request = run.model()
    recommender = create(request.name, **request.settings)
    target = Path("runs") / request.name.rpartition(":")[2] if output is None else output
    if target.exists() and not overwrite:
        # Before the training, not after it.
        raise ConfigError(f"--output: {target} exists already; choose another one, or pass --overwrite.")
    interactions = load_interactions(out, run.data)
    started = time.perf_counter()
    with out.progress(f"fit {request.name}") as progress:
        recommender.fit(interactions, progress=progress)
    seconds = time.perf_counter() - started
    bundle = save_bundle(recommender, target, overwrite=overwrite, with_index=with_index)
    manifest = read_manifest(bundle)
    size = sum(file["bytes"] for file in manifest["files"].values())
    out.data(
        {
            "bundle": str(bundle),
            "model": manifest["model"],
            "data": {
                "source": interactions.source,
                "n_events": len(interactions),
                "n_users": interactions.n_users,
                "n_items": interactions.n_items,
            },
            "fit_seconds": seconds,
            "parity": manifest["parity"],
            "bytes": size,
        }
    )
    out.fields(
        {
            "bundle": bundle,
            "model": repr(recommender),
            "data": f"{len(interactions):,} events, {interactions.n_users:,} users, {interactions.n_items:,} items",
            "fitted in": f"{seconds:.2f} s",
            "ONNX parity": f"largest relative difference {manifest['parity']['max_error']:.1e}",
            "size": f"{size / 1e6:.1f} MB",
        },
        title="Saved",
    )
    out.note(f"Next: recsys recommend {bundle} --user {interactions.users.ids[0]}")
