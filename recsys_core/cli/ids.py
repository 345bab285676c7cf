"""Ids as they are written on a command line."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_core.data import IdMap

__all__ = ["ids_of", "listed"]


def listed(text: str) -> list[str]:
    """The ids of a list; one that has a comma is written in double quotes, as in CSV."""
    rows = csv.reader([text], skipinitialspace=True)
    return [word for word in (part.strip() for row in rows for part in row) if word]


def ids_of(words: list[str] | None, ids: IdMap, option: str) -> list[Any]:
    """Words as ids of the type that the bundle's ids have."""
    import datetime as dt

    from recsys_core.errors import DataError

    convert: Any = str if ids.dtype == "string" else dt.date.fromisoformat if ids.dtype == "date" else int
    converted = []
    for word in words or ():
        try:
            converted.append(convert(word))
        except ValueError:
            raise DataError(f"{option}: expected ids of type {ids.dtype}, as in the bundle, got {word!r}.") from None
    return converted
