"""The command line: ``recsys``.

Only Typer is imported before a command runs, so that ``recsys --help`` and shell completion stay quick.
"""

from __future__ import annotations

import sys

try:
    from recsys_core.cli.app import app, main
except KeyboardInterrupt:  # before there is anything else that could report it
    sys.stderr.write("error: interrupted.\n")
    sys.exit(130)

__all__ = ["app", "main"]
