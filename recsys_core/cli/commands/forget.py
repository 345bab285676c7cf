"""``recsys forget``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "forget")(forget)


def forget(
    out: Output,
    bundle: Annotated[Path, typer.Argument(help="A bundle's directory.")],
    output: Annotated[Path, typer.Argument(help="The bundle to write; the same directory with --overwrite.")],
    user: Annotated[
        list[str] | None, typer.Option("--user", "-u", metavar="ID", help="Who is to be forgotten; repeatable.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Keep nothing about a single person; histories are still answered.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Write a bundle again without some of its users: their ids, what they had, and the vectors that are theirs.

    What the items have learned from them stays, as one voice among many, until the model is fitted again without them.

    For example: `recsys forget runs/als runs/als --user 42 --overwrite`
    """
    from recsys_core.bundle import load_bundle, save_bundle
    from recsys_core.bundle.bundle import INDEX
    from recsys_core.cli.ids import ids_of
    from recsys_core.errors import ConfigError
    from recsys_core.export import ReducedEncoder

    if bool(user) == everybody:
        raise ConfigError(
            f"expected either --user or --everybody, got {'both' if user else 'neither'}; give one of the two."
        )
    if output.exists() and not overwrite:
        raise ConfigError(f"OUTPUT: {output} exists already; choose another path, or pass --overwrite.")
    read = load_bundle(bundle)
    leaving = ids_of(user, read.fitted.users, "--user") if user else read.fitted.users.ids
    fitted = read.fitted.without_users(leaving)
    reduction = read.manifest.get("encoder")
    path = save_bundle(
        fitted if reduction is None else ReducedEncoder.from_dict(fitted, reduction),
        output,
        metrics={name: float("nan") if value is None else value for name, value in read.manifest["metrics"].items()},
        overwrite=overwrite,
        with_index=INDEX in read.manifest["files"],
    )
    left = len(fitted.users)
    gone = len(read.fitted.users) - left
    out.data({"bundle": str(path), "n_forgotten": gone, "n_users": left})
    out.fields({"bundle": path, "users forgotten": f"{gone:,}", "users still known": f"{left:,}"}, title="Saved")
