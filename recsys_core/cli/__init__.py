"""The command line: ``recsys``.

Only Typer is imported before a command runs, so that ``recsys --help`` and shell completion stay quick.
"""

from __future__ import annotations

from recsys_core.cli.app import app, main

__all__ = ["app", "main"]
