"""The library's remedies in the words of the command line: options instead of arguments.

A message of the library tells a programmer what to pass; whoever typed a command has options for the same things.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["ROWS", "as_error", "in_options"]

_Replacement = str | Callable[[re.Match[str]], str]

_OPTIONS: Final = {
    "users": "--user",
    "histories": "--history",
    "item_ids": "--item",
    "allow": "--allow",
    "deny": "--deny",
    "path": "--path",
}


def _option(found: re.Match[str]) -> str:
    return f"{_OPTIONS[found[1]]}:"


def _separator(found: re.Match[str]) -> str:
    return "--separator tab" if found[1] == "\\t" else f"--separator '{found[1]}'"


_WORDS: Final[tuple[tuple[re.Pattern[str], _Replacement], ...]] = (
    (re.compile(rf"^({'|'.join(_OPTIONS)}):"), _option),
    (re.compile(r"""(?:columns=)?\{"(\w+)": '([^']*)'\}"""), r"--columns \1='\2'"),
    (re.compile(r"""(?:columns=)?\{"(\w+)": None\}"""), r"--columns \1="),
    (re.compile(r"""columns=\{"(\w+)": (?:\.\.\.|"[^"]*", \.\.\.)\}"""), r"--columns \1=NAME"),
    (re.compile(r"separator='([^']*)'"), _separator),
    (re.compile(r"on_unknown='(\w+)'"), r"--on-unknown \1"),
    (re.compile(r" or 'fallback' for"), " or --on-unknown fallback for"),
    (re.compile(r"pass time_unit"), "pass --set data.time_unit=UNIT"),
    (re.compile(r"make one with save_bundle"), "make one with `recsys fit`"),
    (re.compile(r"use split_(\w+)"), r"pass --split \1"),
    (re.compile(r"to_csr adds their weights up; aggregate=.* does otherwise"), "models add their weights up"),
    (re.compile(r"filter_min drops them"), "in Python, Interactions.filter_min drops them"),
)


_ROWS: Final = re.compile(r"\brows? \d")
ROWS: Final = "rows are counted from 0, without the header"


def as_error(message: str) -> str:
    """The message of an error in the command line's words, with how rows are counted if it names some."""
    told = in_options(message)
    return f"{told.rstrip('.')} ({ROWS})." if _ROWS.search(told) else told


def in_options(message: str) -> str:
    """The message with the command line's options in place of the library's arguments.

    Examples
    --------
    >>> in_options("users: 1 unknown user(s): 7; pass on_unknown='ignore' to leave them out")
    '--user: 1 unknown user(s): 7; pass --on-unknown ignore to leave them out'
    """
    for words, replacement in _WORDS:
        message = words.sub(replacement, message)
    return message
