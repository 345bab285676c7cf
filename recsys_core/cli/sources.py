"""From the ``[data]`` and ``[split]`` tables to interactions and splits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_core import data
from recsys_core.data.readers import scan_table
from recsys_core.errors import ConfigError, FormatError

if TYPE_CHECKING:
    import polars as pl

    from recsys_core.cli.output import Output
    from recsys_core.cli.run_config import DataSection, SplitSection

__all__ = ["audit_source", "load_dataset", "load_interactions", "make_split", "read_table"]

_SPLITTERS: dict[str, Any] = {
    "global_time": data.split_global_time,
    "leave_last": data.split_leave_last,
    "random": data.split_random,
    "users": data.split_users,
}


def load_interactions(out: Output, section: DataSection) -> data.Interactions:
    """Read the interactions that a ``[data]`` table speaks of; of a data set, tell where it came from.

    Raises
    ------
    ConfigError
        It gives neither or both of ``path`` and ``dataset``.
    UnknownModelError, FormatError, DataError
        The data set is not registered, the file cannot be read, or its content cannot be used.
    """
    if _is_dataset(section):
        return _load_dataset(out, section)
    assert section.path is not None
    return data.read_interactions(
        section.path,
        columns=section.columns,
        item_features=_features(section.item_features),
        user_features=_features(section.user_features),
        time_unit=section.time_unit,
        separator=section.separator,
    )


def audit_source(out: Output, section: DataSection) -> data.AuditReport:
    """Audit the data that a ``[data]`` table speaks of: a file as it is, with every fault it has."""
    if _is_dataset(section):
        return data.audit(_load_dataset(out, section))
    assert section.path is not None
    return data.audit(
        read_table(section.path, section.separator),
        columns=section.columns,
        item_features=_features(section.item_features),
        user_features=_features(section.user_features),
        time_unit=section.time_unit,
    )


def load_dataset(out: Output, name: str, options: Mapping[str, Any]) -> data.Interactions:
    """Load a registered data set; a loader that has ``progress`` may show a person how far it is."""
    from recsys_core.registry import default_registry, resolve

    entry = default_registry().find(name, kind="dataset")
    options = dict(options)
    if out.is_watched and "progress" in inspect.signature(resolve(entry.spec.factory)).parameters:
        options.setdefault("progress", True)
    interactions: data.Interactions = entry.create(**options)
    return interactions


def make_split(interactions: data.Interactions, section: SplitSection) -> data.Split:
    """Split as a ``[split]`` table says."""
    split: data.Split = _SPLITTERS[section.method](interactions, **dict(section))
    return split


def _is_dataset(section: DataSection) -> bool:
    if (section.path is None) == (section.dataset is None):
        given = "neither" if section.path is None else "both"
        raise ConfigError(f"data: expected either a file or a registered data set, got {given}; pass --path FILE or "
                          "--dataset NAME (`recsys models list --kind dataset`).")  # fmt: skip
    if section.path is not None and section.options:
        raise ConfigError(
            f"data.options: expected none for a file, got {', '.join(section.options)}; which a data set's loader "
            "takes; how a file is read is said by --columns, --separator and --set data.time_unit=UNIT."
        )
    return section.dataset is not None


def _load_dataset(out: Output, section: DataSection) -> data.Interactions:
    assert section.dataset is not None
    for name in ("columns", "separator"):
        if getattr(section, name):
            raise ConfigError(f"data.{name}: expected none for a data set, which knows how it is read; leave it out.")
    interactions = load_dataset(out, section.dataset, section.options)
    out.note(f"{section.dataset}: from {interactions.source or 'its plugin'}")
    return interactions


def read_table(path: str | Path, separator: str | None = None) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet file.

    Raises
    ------
    FormatError, DataError, ConfigError
        It cannot be read, is not there, or its suffix does not say how to read it.
    """
    import polars as pl

    try:
        return scan_table(Path(path), separator=separator).collect()
    except pl.exceptions.PolarsError as cause:
        raise FormatError(f"path: cannot read {str(path)!r}: {cause}") from cause


def _features(path: str | None) -> pl.DataFrame | None:
    return None if path is None else read_table(path)
