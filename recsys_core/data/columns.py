"""Which column of a table plays which part."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from recsys_core.data.validation import Finding
from recsys_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OPTIONAL", "REQUIRED", "likely_column", "map_columns"]

REQUIRED: Final = ("user_id", "item_id")
OPTIONAL: Final = ("weight", "datetime")

# Of other files than those with commas.
_SEPARATORS: Final = ("\t", ";", "|", ",")

# What data sets call these columns, lower case and without punctuation.
_KNOWN_NAMES: Final[dict[str, frozenset[str]]] = {
    "user_id": frozenset(
        {"userid", "user", "uid", "users", "customerid", "customer", "visitorid", "reviewerid", "accountid",
         "memberid", "sessionid", "useridtoken"}
    ),
    "item_id": frozenset(
        {"itemid", "item", "iid", "items", "movieid", "movie", "productid", "product", "asin", "parentasin", "bookid",
         "isbn", "songid", "trackid", "artistid", "articleid", "newsid", "contentid", "itemidtoken"}
    ),
    "weight": frozenset({"weight", "rating", "ratings", "score", "stars", "plays", "playcount", "count", "quantity",
                         "ratingfloat"}),
    "datetime": frozenset({"datetime", "timestamp", "time", "date", "ts", "createdat", "unixreviewtime",
                           "timestampfloat"}),
}  # fmt: skip


def map_columns(
    available: Sequence[str], columns: Mapping[str, str | None] | None
) -> tuple[dict[str, str], list[Finding]]:
    """Find the column of each part.

    Parameters
    ----------
    available
        The names in the table.
    columns
        Part -> name; parts that are left out have their own name.  None as a name leaves an optional part out.

    Returns
    -------
    mapping
        Part -> name, of the columns found.
    findings
        An error for each required or mapped column that is not there.

    Raises
    ------
    ConfigError
        If ``columns`` has a key that is no part.
    """
    columns = {} if columns is None else dict(columns)
    parts = (*REQUIRED, *OPTIONAL)
    unknown = [part for part in columns if part not in parts]
    if unknown:
        turned = " (the mapping is the wrong way round)" if any(name in parts for name in columns.values()) else ""
        raise ConfigError(
            f"columns: expected keys among {', '.join(parts)}, got {', '.join(map(repr, unknown))}{turned}; "
            'write columns={"user_id": "name in your table", ...}'
        )
    mapping: dict[str, str] = {}
    findings = []
    for part in parts:
        name = columns.get(part, part)
        if name is None and part in OPTIONAL:
            continue
        if name in available:
            mapping[part] = str(name)
        elif part in REQUIRED or part in columns:
            findings.append(_missing(part, name, available))
    return mapping, findings


def likely_column(part: str, available: Sequence[str]) -> str | None:
    """Return the column that looks like a part by its name, or None."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in reversed(available)}
    known = [name for key, name in plain.items() if key in _KNOWN_NAMES[part]]
    if known:
        return known[-1]
    close = difflib.get_close_matches(part.replace("_", ""), plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else None


def _missing(part: str, name: str | None, available: Sequence[str]) -> Finding:
    there = ", ".join(map(repr, available)) if available else "no columns at all"
    message = f"{part}: expected a column {name!r}, got {there}"
    other = [character for character in _SEPARATORS if character in available[0]] if len(available) == 1 else []
    if other:
        remedy = f"the one name has {other[0]!r} in it: if fields end there, pass separator={other[0]!r}"
        return Finding("missing-column", "error", message, remedy)
    guess = likely_column(part, available)
    if guess is None and name is not None:
        guess = next(iter(difflib.get_close_matches(name, available, n=1)), None)
    remedy = f'pass columns={{"{part}": {guess!r}}}' if guess else f'name the column with columns={{"{part}": ...}}'
    return Finding("missing-column", "error", message, remedy)
