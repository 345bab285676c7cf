"""Settings of a model: a frozen pydantic model, checked once, the same from Python, TOML and the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys_core.errors import ConfigError

__all__ = ["Config", "build_config"]


class Config(BaseModel):
    """Base of every model's settings.

    Declare one annotated field a setting; ``pydantic.Field`` adds its range and its one-line description, which the
    command line and the documentation show.  A config is immutable, refuses unknown settings and survives a round
    trip through JSON.

    Examples
    --------
    >>> from pydantic import Field
    >>> class ShelfConfig(Config):
    ...     n_shelves: int = Field(3, ge=1, description="Shelves to look at.")
    >>> ShelfConfig(n_shelves=5).n_shelves
    5
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


C = TypeVar("C", bound=Config)


def build_config(config_class: type[C], settings: Mapping[str, Any], *, model: str = "") -> C:
    """Check ``settings`` against ``config_class``.

    Parameters
    ----------
    config_class
        The config to build.
    settings
        Setting name to value.  Strings are read as numbers where the field is a number, since they may come from a
        command line.
    model
        Name to use in messages; the class name when empty.

    Raises
    ------
    ConfigError
        A setting is unknown (near names are suggested), of the wrong type, or out of range.
    """
    try:
        return config_class.model_validate(dict(settings))
    except ValidationError as error:
        owner = model or config_class.__name__
        raise ConfigError("; ".join(_line(owner, config_class, fault) for fault in error.errors())) from None


def _line(owner: str, config_class: type[Config], fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    known = sorted(config_class.model_fields)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it."
        return f"{owner} has no setting {name!r}; expected one of {', '.join(known) or '(none)'}; {remedy}"
    field = config_class.model_fields.get(name.split(".")[0])
    default = "" if field is None or field.is_required() else f"; the default is {field.default!r}"
    # What a validator raised is a sentence of its author's, to which pydantic adds the kind of exception.
    message = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else fault["msg"]
    message = message[:1].lower() + message[1:]
    if not name:
        return f"{owner}: {message}"
    return f"{owner}.{name}: {message}; got {fault['input']!r}{default}"
