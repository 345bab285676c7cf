"""The one place that prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json as json_module
import logging
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from recsys_core.cli.wording import in_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output", "plain"]

PIPED_WIDTH: Final = 100
"""Columns where stdout is no terminal and ``COLUMNS`` does not say."""


class Output:
    """Prints what a command has to say.

    Parameters
    ----------
    json
        Only :meth:`data` prints on stdout; tables and text are left out.
    quiet
        Notes and progress are left out.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    @cached_property
    def _stdout(self) -> Console:
        from rich.console import Console

        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
        return Console(width=width, highlight=False, emoji=False)

    @cached_property
    def _stderr(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, highlight=False, emoji=False)

    @property
    def is_watched(self) -> bool:
        """Whether progress is worth showing: a person looks at stderr, and wants to see it."""
        return not self.quiet and sys.stderr.isatty()

    def data(self, content: Any) -> None:
        """Print the result as JSON, with ``--json`` only; keys keep their order and are part of the interface."""
        if self.json:
            sys.stdout.write(json_module.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            sys.stdout.flush()

    def table(self, rows: Sequence[Mapping[str, Any]], *, title: str = "", caption: str = "") -> None:
        """Print rows under the keys of the first one; numbers to the right, floats with four decimals.

        Where the console is too narrow for the longest words side by side, each row is a block of names and values.
        """
        if self.json:
            return
        from rich import box
        from rich.measure import Measurement
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title, style="bold") if title else None,
            caption=Text(caption, style="dim") if caption else None,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        names = list(rows[0]) if rows else []
        for name in names:
            numeric = all(row[name] is None or _is_number(row[name]) for row in rows)
            table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(row[name])) for name in names))
        unlimited = self._stdout.options.update_width(10_000)
        if Measurement.get(self._stdout, unlimited, table).minimum <= self._stdout.width:
            self._stdout.print(table)
            return
        if title:
            self.heading(title)
        for row in rows:
            self.fields(row)
            self.text()
        if caption:
            self.text(caption)

    def fields(self, content: Mapping[str, Any], *, title: str = "") -> None:
        """Print names and values, one pair a line."""
        if self.json:
            return
        from rich.table import Table
        from rich.text import Text

        if title:
            self.heading(title)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in content.items():
            grid.add_row(Text(f"  {name}"), Text(_cell(value)))
        self._stdout.print(grid)

    def heading(self, text: str) -> None:
        """Print a line that opens a part of a longer report."""
        if not self.json:
            from rich.text import Text

            self._stdout.print(Text(text, style="bold"), soft_wrap=True)

    def text(self, text: str = "") -> None:
        """Print text as it is."""
        if not self.json:
            self._stdout.print(text, markup=False, soft_wrap=True)

    def paragraph(self, text: str) -> None:
        """Print a sentence or more, wrapped to the width and indented under a heading."""
        if not self.json:
            width = max(self._stdout.width, 40)
            self.text(textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    "))

    def note(self, text: str) -> None:
        """Tell something by the way, on stderr."""
        if not self.quiet:
            from rich.text import Text

            self._stderr.print(Text(text, style="dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Warn on stderr, even when quiet."""
        from rich.text import Text

        self._stderr.print(Text.assemble(("warning: ", "bold yellow"), in_options(text)), soft_wrap=True)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar on stderr while the block runs, if a person is watching; yields ``progress(done, total)``."""
        if not self.is_watched:
            yield lambda done, total: None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self._stderr, transient=True) as bars:
            task = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    @contextmanager
    def diagnostics(self) -> Iterator[None]:
        """Turn Python warnings and the library's log into ``warning:`` lines while the block runs."""
        handler = _WarningLines(self)
        logger = logging.getLogger("recsys_core")
        logger.addHandler(handler)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: self.warn(str(message))
                yield
        finally:
            logger.removeHandler(handler)


class _WarningLines(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.warn(record.getMessage())


def plain(value: Any) -> Any:
    """Values that JSON has: NumPy scalars become numbers, NaN and infinities null, dates and paths strings."""
    if isinstance(value, Mapping):
        return {str(name): plain(content) for name, content in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(content) for content in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "item") and not isinstance(value, type):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _is_number(value: Any) -> bool:
    """Whether a cell holds a number, or a text that reads as one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
