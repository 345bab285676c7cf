"""Where to look for good values of a setting: markers that a config's fields carry, for ``recsys tune``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, get_args

from recsys_core.errors import ConfigError
from recsys_core.models.config import Config, build_config

__all__ = ["SearchChoices", "SearchRange", "SearchSpace", "search_space"]


@dataclass(frozen=True)
class SearchRange:
    """A number to look for between two bounds, both included.

    It is where good values usually lie, not what is allowed: that is for the field's ``ge`` and ``le``.

    Parameters
    ----------
    low, high
        Bounds, ``low`` below ``high``.
    log
        Whether a factor matters and not a difference: 0.01 to 0.1 is then as wide as 1 to 10.  ``low`` must be above 0.
    when
        Other settings and the values under which this one has an effect; elsewhere it keeps its default.

    Raises
    ------
    ConfigError
        The bounds are not finite, not in order, or not above 0 where ``log`` is set.

    Examples
    --------
    A field carries it in its type: ``n_shelves: Annotated[int, SearchRange(1, 20)] = Field(3, ge=1, description=...)``.

    >>> from recsys_core.registry import default_registry
    >>> search_space(default_registry().find("ease").config_class())
    {'regularization': SearchRange(low=5.0, high=5000.0, log=True, when={})}
    """

    low: float
    high: float
    log: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"SearchRange: expected finite numbers low < high, got {self.low} and {self.high}.")
        if self.log and self.low <= 0:
            raise ConfigError(f"SearchRange: expected low above 0 with log=True, got {self.low}.")

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values that must be allowed for the whole range to be."""
        return (self.low, self.high)


@dataclass(frozen=True)
class SearchChoices:
    """A value to choose among a few that have no order, or whose order says little.

    Parameters
    ----------
    values
        At least two different ones: strings, numbers, booleans or None.
    when
        Other settings and the values under which this one has an effect; elsewhere it keeps its default.

    Raises
    ------
    ConfigError
        There are fewer than two, or one twice.
    """

    values: tuple[str | float | bool | None, ...]
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if len(self.values) < 2 or len({repr(value) for value in self.values}) < len(self.values):
            raise ConfigError(f"SearchChoices: expected two or more different values, got {list(self.values)}.")

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values that must be allowed for all choices to be."""
        return self.values


SearchSpace: TypeAlias = dict[str, SearchRange | SearchChoices]
"""Setting to where its good values are looked for; a setting comes after those that its ``when`` names."""


def search_space(
    config_class: type[Config],
    fixed: Mapping[str, Any] | None = None,
    changed: Mapping[str, SearchRange | SearchChoices] | None = None,
) -> SearchSpace:
    """Which settings to search, and where.

    Parameters
    ----------
    config_class
        The config whose fields carry :class:`SearchRange` and :class:`SearchChoices` in their ``Annotated`` type.
    fixed
        Settings that are given and therefore not searched.
    changed
        Setting to where to look instead of where its field says; also for a field that says nothing.

    Returns
    -------
    dict
        Without the settings that the fixed ones make idle.

    Raises
    ------
    ConfigError
        A setting in ``fixed`` or ``changed`` is unknown or in both, a value is one that the config refuses, a number
        is looked for where the setting is none, or None is a choice where it is not the default (a run file has no
        word for it).
    """
    fixed, changed = dict(fixed or {}), dict(changed or {})
    build_config(config_class, fixed)
    both = sorted(fixed.keys() & changed.keys())
    if both:
        raise ConfigError(f"space: {', '.join(both)} is both fixed and searched; leave out one of the two.")
    unknown = sorted(changed.keys() - config_class.model_fields.keys())
    if unknown:
        build_config(config_class, {**fixed, **dict.fromkeys(unknown)})  # refuses them, and names the nearest ones
    space: SearchSpace = {}
    for name, setting in config_class.model_fields.items():
        marked = [mark for mark in setting.metadata if isinstance(mark, SearchRange | SearchChoices)]
        search = changed.get(name, marked[0] if marked else None)
        if search is not None and name not in fixed:
            _check(config_class, fixed, name, search)
            space[name] = search
    # What is not searched has one value, which may leave other settings without effect.
    known = {**{name: field.default for name, field in config_class.model_fields.items()}, **fixed}
    return _in_order(space, known)


def has_effect(search: SearchRange | SearchChoices, settings: Mapping[str, Any]) -> bool:
    """Whether the other settings are such that the searched one has an effect."""
    return all(settings.get(other) in values for other, values in search.when.items())


def is_integer(config_class: type[Config], name: str) -> bool:
    """Whether a setting takes whole numbers only."""
    annotation = config_class.model_fields[name].annotation
    kinds = {annotation, *get_args(annotation)}
    return int in kinds and float not in kinds


def _check(
    config_class: type[Config], fixed: Mapping[str, Any], name: str, search: SearchRange | SearchChoices
) -> None:
    where = f"space.{name}"
    unknown = sorted(search.when.keys() - config_class.model_fields.keys())
    if unknown:
        raise ConfigError(f"{where}: expected settings of {config_class.__name__} in when, got {', '.join(unknown)}.")
    if isinstance(search, SearchRange):
        annotation = config_class.model_fields[name].annotation
        if not {annotation, *get_args(annotation)} & {int, float}:
            raise ConfigError(f"{where}: expected a setting that is a number for a range; give choices.")
    elif None in search.values and config_class.model_fields[name].default is not None:
        raise ConfigError(f"{where}: expected no None among the choices, since it is not the default.")
    for value in search.probes:
        build_config(config_class, {**fixed, name: value}, model=f"space of {config_class.__name__}")


def _in_order(space: SearchSpace, known: Mapping[str, Any]) -> SearchSpace:
    ordered: SearchSpace = {}
    waiting = dict(space)
    while waiting:
        ready = {name: s for name, s in waiting.items() if not (s.when.keys() & waiting.keys())}
        if not ready:
            raise ConfigError(f"space: {', '.join(waiting)} wait for each other in when.")
        for name, search in ready.items():
            del waiting[name]
            fixed = {other: values for other, values in search.when.items() if other not in ordered}
            if has_effect(replace(search, when=fixed), known):
                ordered[name] = search
    return ordered
