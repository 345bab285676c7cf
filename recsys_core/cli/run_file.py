"""Writing a run as a TOML file that :mod:`~recsys_core.cli.run_config` reads again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recsys_core.models import Config

if TYPE_CHECKING:
    from recsys_core.cli.run_config import RunConfig

__all__ = ["run_file"]


def run_file(run: RunConfig, name: str, settings: Mapping[str, Any], *, comment: str = "") -> str:
    """The data, split and measures of a run, and one model, as TOML.

    Parameters
    ----------
    run
        Where the data, the split and the measures come from; what has its default is left out.
    name
        The model's name.
    settings
        The model's settings.  None is left out: TOML has no word for it.
    comment
        First line.
    """
    tables: dict[str, Mapping[str, Any]] = {
        "data": _changed(run.data),
        "split": {"method": run.split.method, **_changed(run.split)},
        "evaluate": _changed(run.evaluate),
        "model": {"name": name, **settings},
    }
    parts = [f"# {comment}\n"] if comment else []
    for section, table in tables.items():
        lines = [f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if value is not None]
        if lines:
            parts.append(f"[{section}]\n{''.join(lines)}")
    return "\n".join(parts)


def _changed(section: Config) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_defaults=True)


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = [f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None]
        return f"{{ {', '.join(inner)} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    # TOML writes booleans, numbers and strings as JSON does, but for characters beyond the basic plane.
    return json.dumps(value, ensure_ascii=False)
