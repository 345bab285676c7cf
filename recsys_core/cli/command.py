"""What all commands share: ``--json``, ``--quiet``, ``--traceback`` and the reporting of errors."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from recsys_core.cli.failures import INTERRUPTED, exit_code, report, wants_traceback
from recsys_core.cli.output import Output
from recsys_core.cli.wording import as_error
from recsys_core.errors import RecsysError

__all__ = ["command"]

P = ParamSpec("P")

_PANEL = "Output"
_COMMON = {
    "json": Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.", rich_help_panel=_PANEL)],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, no notes; only the result.", rich_help_panel=_PANEL)
    ],
    "traceback": Annotated[
        bool,
        typer.Option("--traceback", help="Show where an error came from.", rich_help_panel=_PANEL),
    ],
}


def command(app: typer.Typer, name: str) -> Callable[[Callable[Concatenate[Output, P], None]], Callable[..., None]]:
    """Register a function as a command with the options that all commands have.

    The function's first parameter is the :class:`Output` to print with; the others are its own options, and its
    docstring is the help text.  An error of this library, or of the operating system, ends the process with one line
    on stderr and the exit code of its kind.
    """

    def register(function: Callable[Concatenate[Output, P], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*, json: bool, quiet: bool, traceback: bool, **own: Any) -> None:
            out = Output(json=json, quiet=quiet)
            try:
                with out.diagnostics():
                    function(out, **own)  # type: ignore[call-arg]  # what the signature below declares
            except BrokenPipeError:
                # The reader has left (``recsys models list | head -1``), so there is nobody to tell; the interpreter
                # must not try to flush into the closed pipe either.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                report("interrupted.")
                raise typer.Exit(INTERRUPTED) from None
            except (RecsysError, OSError) as error:
                if traceback or wants_traceback():
                    raise
                report(as_error(str(error)))
                raise typer.Exit(exit_code(error)) from None

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
            for option, annotation in _COMMON.items()
        ]
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *common]}
        app.command(name)(run)
        return run

    return register
