"""From an error to one line on stderr and an exit code by its kind.

====  ===========================================================
code  meaning
====  ===========================================================
0     done
1     anything else, such as a full disk
2     wrong usage, or a setting is wrong (``ConfigError``)
3     the data cannot be used, or an id is unknown
4     the model is unknown, or a plugin is broken
5     a file or bundle cannot be read, or an export failed
6     a device or instruction set cannot be used
130   interrupted
====  ===========================================================
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from recsys_core import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXIT_CODES", "INTERRUPTED", "Group", "exit_code", "report", "wants_traceback"]

EXIT_CODES: Final[dict[type[Exception], int]] = {
    errors.ConfigError: 2,
    errors.DataError: 3,
    errors.UnknownIdError: 3,
    errors.UnknownModelError: 4,
    errors.PluginError: 4,
    errors.FormatError: 5,
    errors.ExportError: 5,
    errors.DeviceError: 6,
}
INTERRUPTED: Final = 130

# Typer carries its own copy of click in some versions and depends on click in others; this is the base of all usage
# errors in both.
_UsageError: Any = typer.BadParameter.__base__


def exit_code(error: Exception) -> int:
    """The exit code for an error; 1 for a kind that has none of its own."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)


def report(message: str) -> None:
    """Print one ``error:`` line on stderr."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)


def wants_traceback() -> bool:
    """Whether ``RECSYS_TRACEBACK`` asks for tracebacks: set, and neither empty nor ``0``."""
    return os.environ.get("RECSYS_TRACEBACK", "0") not in ("", "0")


class Group(TyperGroup):
    """The root command: reports a usage error the way every other error is reported."""

    def main(self, args: Sequence[str] | None = None, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command line; exit by the table above, or return the code if ``standalone_mode`` is off."""
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except _UsageError as fault:
            # Some versions of Typer parse by pydantic, and say so.
            message = fault.format_message().replace(": Value error, ", ": ")
            stop = "" if message.endswith((".", "?")) else "."
            where = f" See `{fault.ctx.command_path} --help`." if fault.ctx is not None else ""
            report(f"{message}{stop}{where}")
            code = 2
        except typer.Abort:
            report("interrupted.")
            code = INTERRUPTED
        code = code if isinstance(code, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code
