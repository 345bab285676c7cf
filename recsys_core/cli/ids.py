"""Ids as they are written on a command line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_core.data import IdMap
    from recsys_core.models import FittedModel

__all__ = ["askers", "check_askers", "ids_of", "listed"]


def check_askers(
    users: Sequence[str] | None, histories: Sequence[str] | None, user_features: Path | None = None
) -> None:
    """Check that either users or histories are asked about, or features of users without a history.

    Raises
    ------
    ConfigError
        Both or neither are given, or features of known users.
    """
    from recsys_core.errors import ConfigError

    if user_features is not None:
        if users:
            raise ConfigError(
                "--user-features: expected --history beside it, or nothing, got --user; a known user is answered by "
                "what training knew."
            )
        return
    if bool(users) == bool(histories):
        given = "both" if users else "neither"
        raise ConfigError(f"expected either --user or --history, got {given}; give one of the two.")


def askers(
    users: Sequence[str] | None,
    histories: Sequence[str] | None,
    model: FittedModel,
    user_features: Path | None = None,
) -> dict[str, Any]:
    """The arguments of ``recommend`` or ``explain`` that say who asks, by their names."""
    if users:
        return {"users": ids_of(users, model.users, "--user")}
    asked: dict[str, Any] = {}
    if histories:
        asked["histories"] = [ids_of(listed(row), model.items, "--history") for row in histories]
    if user_features is not None:
        from recsys_core.cli.sources import read_table

        asked["user_features"] = read_table(user_features)
    return asked


def listed(text: str) -> list[str]:
    """The ids of a list; one that has a comma is written in double quotes, as in CSV."""
    rows = csv.reader([text], skipinitialspace=True)
    return [word for word in (part.strip() for row in rows for part in row) if word]


def ids_of(words: Sequence[str], ids: IdMap, option: str) -> list[Any]:
    """Words as ids of the type that the bundle's ids have."""
    import datetime as dt

    from recsys_core.errors import DataError

    convert: Any = str if ids.dtype == "string" else dt.date.fromisoformat if ids.dtype == "date" else int
    converted = []
    for word in words:
        try:
            converted.append(convert(word))
        except ValueError:
            several = f"; repeat {option} for several" if "," in word and option == "--user" else ""
            raise DataError(
                f"{option}: expected ids of type {ids.dtype}, as in the bundle, got {word!r}{several}."
            ) from None
    return converted
