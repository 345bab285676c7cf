"""The command tree of ``recsys``."""

from __future__ import annotations

import importlib
from typing import Annotated, Final

import typer

from recsys_core.cli.failures import Group

__all__ = ["app", "main"]

_COMMANDS: Final = (
    "quickstart",
    "fit",
    "evaluate",
    "compare",
    "tune",
    "recommend",
    "explain",
    "export",
    "forget",
    "data_audit",
    "data_split",
    "models_list",
    "models_show",
    "plugins_list",
    "plugins_check",
    "plugins_new",
    "doctor",
)
"""Modules of ``recsys_core.cli.commands``, in the order of the help; each has ``register(app)``."""

_GROUPS: Final = {
    "data": "Check and split interactions before a model sees them.",
    "models": "See which models are installed, and their settings.",
    "plugins": "List, check and start plugins.",
}

_EPILOG: Final = (
    "Exit codes: 0 done; 2 wrong usage or setting; 3 unusable data or unknown id; 4 unknown model or broken plugin; "
    "5 unreadable file or failed export; 6 unusable device; 130 interrupted; 1 anything else. "
    "RECSYS_TRACEBACK=1 shows where an error came from; RECSYS_PLUGINS chooses the plugins to load."
)


def _version(wanted: bool) -> None:
    if wanted:
        from recsys_core._version import __version__

        typer.echo(f"recsys-core {__version__}")
        raise typer.Exit


def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train recommender models, compare them, and deploy them as ONNX.

    From interactions to recommendations: `recsys data audit`, `recsys compare`, `recsys fit`, `recsys recommend`.
    Or see the whole road at once with `recsys quickstart`.
    """
    _help_alone(context)


def _build() -> typer.Typer:
    tree = typer.Typer(
        name="recsys",
        cls=Group,
        epilog=_EPILOG,
        callback=_root,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    groups = {}
    for module in _COMMANDS:
        group, _, _ = module.rpartition("_")
        parent = tree
        if group:
            if group not in groups:
                groups[group] = typer.Typer(
                    help=_GROUPS[group], callback=_help_alone, invoke_without_command=True, rich_markup_mode="markdown"
                )
                tree.add_typer(groups[group], name=group)
            parent = groups[group]
        importlib.import_module(f"recsys_core.cli.commands.{module}").register(parent)
    return tree


app = _build()


def main() -> None:
    """Run the command line; the entry point of ``recsys``."""
    app(prog_name="recsys")
