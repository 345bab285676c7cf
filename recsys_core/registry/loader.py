"""Finding and loading plugins so that one bad plugin hurts nobody else.

pluggy's own ``load_setuptools_entrypoints`` lets an exception in one plugin end the host and silently skips the second
of two plugins of one name.  Here every plugin is loaded on its own, under the name ``distribution:entry_point``; what
goes wrong is kept for ``recsys plugins list`` and reported, and the rest goes on.
"""

from __future__ import annotations

import difflib
import os
import re
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from recsys_core.errors import PluginError
from recsys_core.registry import hookspecs
from recsys_core.registry.hookspecs import ENTRY_POINT_GROUP, HOOKS
from recsys_core.registry.specs import API_VERSION, OLDEST_API_VERSION, Spec

__all__ = [
    "PluginRecord",
    "faults_of_environment",
    "installed_entry_points",
    "load_plugin",
    "normalized",
    "selected_by_environment",
]


@dataclass(frozen=True)
class PluginRecord:
    """What became of one entry point.

    Attributes
    ----------
    name
        Entry-point name.
    distribution, version
        The distribution that declares it.
    module
        The module it names.
    status
        ``"loaded"``; ``"failed"``; or ``"disabled"`` by ``RECSYS_PLUGINS``.
    specs
        What it registers.
    refused
        One line for each spec that was refused, such as one written for another plugin interface.
    error, traceback
        Why it failed; empty if it did not.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Literal["loaded", "failed", "disabled"]
    specs: tuple[Spec, ...] = ()
    refused: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""


def installed_entry_points() -> list[EntryPoint]:
    """The installed entry points of the group, in an order that does not depend on the file system."""
    return sorted(
        entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (_distribution(point)[0], point.name, point.value)
    )


def selected_by_environment(point: EntryPoint) -> bool:
    """Whether ``RECSYS_PLUGINS`` lets this plugin load.

    The variable lists entry-point or distribution names, separated by commas; case, ``-``, ``_`` and ``.`` in them
    make no difference.  Unset, all load; empty, none; ``a,b`` only these; ``-a`` all but this one.
    """
    words = _environment_words()
    if words is None:
        return True
    names = _names(point)
    denied = {normalized(word[1:]) for word in words if word.startswith("-")}
    allowed = {normalized(word) for word in words if not word.startswith("-")}
    if names & denied:
        return False
    return bool(names & allowed) if allowed or not denied else True


def faults_of_environment(points: Iterable[EntryPoint]) -> list[str]:
    """A sentence for each name in ``RECSYS_PLUGINS`` that none of these plugins has."""
    known = set().union(*map(_names, points))
    words = [word.removeprefix("-") for word in _environment_words() or ()]
    return [
        f"RECSYS_PLUGINS names {word!r}, which no installed plugin is called."
        for word in words
        if normalized(word) not in known
    ]


def _environment_words() -> list[str] | None:
    setting = os.environ.get("RECSYS_PLUGINS")
    return None if setting is None else [word.strip() for word in setting.split(",") if word.strip()]


def _names(point: EntryPoint) -> set[str]:
    return {normalized(point.name), normalized(_distribution(point)[0])}


def normalized(name: str) -> str:
    """Spelling of a distribution's name by which package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_plugin(point: EntryPoint) -> PluginRecord:
    """Import one plugin, call its hooks and check what they return; never raises for the plugin's faults."""
    distribution, version = _distribution(point)
    # The module's name, without what point.module does to a malformed value: raise AttributeError.
    identity = (point.name, distribution, version, point.value.partition(":")[0].strip())
    if not selected_by_environment(point):
        return PluginRecord(*identity, status="disabled")
    try:
        if not point.pattern.match(point.value):
            raise PluginError(f"{distribution}:{point.name}: expected a module as entry point, got {point.value!r}.")
        specs, refused = _collect(point.load(), f"{distribution}:{point.name}")
    except (Exception, SystemExit) as cause:  # a script without a main guard must not end the host
        error = str(cause) if isinstance(cause, PluginError) else f"{type(cause).__name__}: {cause}"
        return PluginRecord(*identity, status="failed", error=error, traceback=traceback.format_exc())
    return PluginRecord(*identity, status="loaded", specs=tuple(specs), refused=tuple(refused))


def _distribution(point: EntryPoint) -> tuple[str, str]:
    # An entry point that was built by hand has no distribution, and a damaged installation no metadata.
    try:
        name, version = (point.dist.name, point.dist.version) if point.dist else (None, None)
    except Exception:
        name, version = None, None
    return name or "(none)", version or ""


def _collect(plugin: Any, identity: str) -> tuple[list[Spec], list[str]]:
    manager = pluggy.PluginManager("recsys_core")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=identity)
    _check_pending(manager, identity)
    specs: list[Spec] = []
    for hook, expected in HOOKS.items():
        # Called one by one, since pluggy drops a hook's None, which is a forgotten return.
        implementations = getattr(manager.hook, hook).get_hookimpls()
        if not implementations and hasattr(plugin, hook):
            raise PluginError(f"{identity}.{hook}: is not marked; decorate it with @recsys_core.registry.hookimpl.")
        for implementation in implementations:
            specs += _checked(implementation.function(), expected, f"{identity}.{hook}")
    accepted = [spec for spec in specs if OLDEST_API_VERSION <= spec.api <= API_VERSION]
    refused = [
        f"{spec.name}: written for plugin interface {spec.api}, this recsys-core accepts {OLDEST_API_VERSION} to "
        f"{API_VERSION}; install a matching version of the plugin or of recsys-core."
        for spec in specs
        if spec not in accepted
    ]
    return accepted, refused


def _check_pending(manager: pluggy.PluginManager, identity: str) -> None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as cause:
        written = [name for name in vars(manager.hook) if not name.startswith("_") and name not in HOOKS]
        near = [match for name in written for match in difflib.get_close_matches(name, HOOKS, n=1)]
        remedy = f"did you mean {', '.join(near)}?" if near else f"the hooks are {', '.join(HOOKS)}."
        raise PluginError(f"{identity}: unknown hook {', '.join(written)}; {remedy}") from cause


def _checked(returned: Any, expected: type[Spec], where: str) -> Sequence[Spec]:
    if not isinstance(returned, Sequence) or isinstance(returned, str):
        raise PluginError(f"{where}: expected a list of {expected.__name__}, got {type(returned).__name__}.")
    for spec in returned:
        if not isinstance(spec, expected):
            raise PluginError(f"{where}: expected {expected.__name__} in the list, got {type(spec).__name__}.")
    names = [spec.name for spec in returned]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PluginError(f"{where}: expected each name once, got {', '.join(twice)} more than once.")
    return returned
