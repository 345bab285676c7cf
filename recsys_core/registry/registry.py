"""The registry: from a name to the thing that a plugin registered under it."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, cast

from recsys_core.errors import ConfigError, PluginError, UnknownModelError
from recsys_core.registry.loader import (
    PluginRecord,
    faults_of_environment,
    installed_entry_points,
    load_plugin,
    normalized,
)
from recsys_core.registry.specs import Spec, resolve

if TYPE_CHECKING:
    from recsys_core.data import Interactions
    from recsys_core.models import Config, Recommender, Reranker

__all__ = ["Entry", "Registry", "create", "create_reranker", "default_registry", "list_models", "load_dataset"]


@dataclass(frozen=True)
class Entry:
    """A spec together with the plugin that registered it.

    Attributes
    ----------
    spec
        What was registered.
    distribution, version
        The distribution that ships the plugin.
    module
        The plugin's module.
    """

    spec: Spec
    distribution: str
    version: str
    module: str

    @property
    def qualified_name(self) -> str:
        """``distribution:name``, which stays unique when two plugins claim one name."""
        return f"{self.distribution}:{self.spec.name}"

    def config_class(self) -> type[Config] | None:
        """The class of its settings, imported now; None when it has none."""
        return cast("type[Config]", resolve(self.spec.config)) if self.spec.config else None

    def create(self, **settings: Any) -> Any:
        """Make the thing with these settings, importing its code now; see :func:`create`."""
        factory = resolve(self.spec.factory)
        if self.spec.kind == "recommender":
            return self._recommender(factory, settings)
        if not callable(factory):
            raise PluginError(
                f"{self.qualified_name}: expected {self.spec.factory} to be callable, got {type(factory).__name__}."
            )
        try:
            inspect.signature(factory).bind(**settings)
        except TypeError as fault:
            signature = inspect.signature(factory)
            raise ConfigError(f"{self.spec.kind} {self.spec.name!r}: {fault}; its signature is {signature}.") from None
        return factory(**settings)

    def _recommender(self, factory: Any, settings: Mapping[str, Any]) -> Recommender:
        from recsys_core.models import Config, Provenance, Recommender

        if not (isinstance(factory, type) and issubclass(factory, Recommender)):
            raise PluginError(
                f"{self.qualified_name}: expected {self.spec.factory} to be a subclass of "
                f"recsys_core.Recommender, got {factory!r}."
            )
        if inspect.isabstract(factory):
            missing = ", ".join(sorted(factory.__abstractmethods__))
            raise PluginError(f"{self.qualified_name}: {self.spec.factory} does not define {missing}.")
        model = factory(**settings)
        if not isinstance(getattr(model, "config", None), Config):
            raise PluginError(
                f"{self.qualified_name}: {self.spec.factory} has an __init__ that does not call "
                "super().__init__(**settings); declare the settings as fields of a Config and leave __init__ out."
            )
        config = model.config.model_dump(mode="json")
        model.provenance = Provenance(self.spec.name, self.distribution, self.version, config)
        return model


class Registry:
    """What the installed plugins offer.

    Parameters
    ----------
    points
        Entry points to load; the installed ones by default.

    Attributes
    ----------
    plugins
        One :class:`PluginRecord` an entry point, failed and disabled ones included.
    environment_faults
        A sentence for each name in ``RECSYS_PLUGINS`` that no entry point has.
    """

    def __init__(self, points: Iterable[EntryPoint] | None = None) -> None:
        chosen = installed_entry_points() if points is None else list(points)
        self.plugins: list[PluginRecord] = [load_plugin(point) for point in chosen]
        self.environment_faults: list[str] = faults_of_environment(chosen)

    def entries(self, kind: str = "recommender", pattern: str = "*") -> list[Entry]:
        """Entries of one kind whose name matches a shell pattern, sorted by name, then distribution."""
        found = [
            Entry(spec, plugin.distribution, plugin.version, plugin.module)
            for plugin in self.plugins
            for spec in plugin.specs
            if spec.kind == kind and fnmatchcase(spec.name, pattern)
        ]
        return sorted(found, key=lambda entry: (entry.spec.name, entry.distribution))

    def find(self, name: str, kind: str = "recommender") -> Entry:
        """The one entry called ``name`` or ``distribution:name``.

        Raises
        ------
        UnknownModelError
            No plugin registers it; near names and failed plugins are mentioned.
        PluginError
            Two plugins register it.
        """
        distribution, _, short = name.rpartition(":")
        found = [
            entry
            for entry in self.entries(kind)
            if entry.spec.name == short and normalized(distribution) in ("", normalized(entry.distribution))
        ]
        if not found:
            raise UnknownModelError(self._unknown(name, kind))
        if len(found) > 1:
            raise PluginError(f"{kind} {name!r}: {_collision(found)}")
        return found[0]

    def create(self, name: str, /, *, kind: str = "recommender", **settings: Any) -> Any:
        """Make the thing called ``name`` with these settings; see :func:`create`."""
        return self.find(name, kind).create(**settings)

    def _unknown(self, name: str, kind: str) -> str:
        short = name.rpartition(":")[2]
        known = [entry.spec.name for entry in self.entries(kind)]
        near = difflib.get_close_matches(short, known, n=3, cutoff=0.5)
        message = f"{kind} {name!r}: no plugin registers it; "
        message += f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known) or 'none'}."
        refused = [line for plugin in self.plugins for line in plugin.refused if line.startswith(f"{short}:")]
        failed = [f"{p.name} ({p.error})" for p in self.plugins if p.status == "failed"]
        disabled = [p.name for p in self.plugins if p.status == "disabled"]
        if refused:
            message += f" Refused: {' '.join(refused)}"
        if failed:
            message += f" These plugins failed to load: {'; '.join(failed)}."
        if disabled:
            message += f" RECSYS_PLUGINS disables these plugins: {', '.join(disabled)}."
        return " ".join([message, *self.environment_faults])


def _collision(found: list[Entry]) -> str:
    distributions = sorted({entry.distribution for entry in found})
    if len(distributions) == 1:
        modules = " and ".join(entry.module for entry in found)
        return f"registered twice by {distributions[0]}, in {modules}; its author has to rename one."
    owners = " and ".join(f"{entry.distribution} {entry.version}".rstrip() for entry in found)
    choices = " or ".join(repr(entry.qualified_name) for entry in found)
    return f"registered by both {owners}; ask for {choices}."


@functools.cache
def default_registry() -> Registry:
    """The registry of the installed plugins, made at first use."""
    return Registry()


def create(name: str, /, **settings: Any) -> Recommender:
    """Make a recommender by the name that a plugin registered.

    Parameters
    ----------
    name
        Such as ``"als"``; ``"distribution:name"`` where two plugins claim one name.
    **settings
        Fields of the model's config.

    Returns
    -------
    Recommender
        Unfitted.

    Raises
    ------
    UnknownModelError
        No plugin registers the name; near names are suggested.
    PluginError
        Two plugins register it, or its code cannot be imported.
    ConfigError
        A setting is unknown, of the wrong type or out of range.

    Examples
    --------
    >>> create("als", n_factors=128)
    Als(n_factors=128)
    >>> create("popular")
    Traceback (most recent call last):
    recsys_core.errors.UnknownModelError: recommender 'popular': no plugin registers it; did you mean 'popularity'?
    """
    model: Recommender = default_registry().create(name, **settings)
    return model


def create_reranker(name: str, /, **settings: Any) -> Reranker:
    """Make a re-ranker by the name that a plugin registered, for :meth:`FittedModel.reranked`.

    Parameters
    ----------
    name
        Such as ``"mmr"``; ``"distribution:name"`` where two plugins claim one name.
    **settings
        Fields of its config.

    Raises
    ------
    UnknownModelError
        No plugin registers the name; near names are suggested.
    PluginError
        Two plugins register it, its code cannot be imported, or what it makes is no re-ranker.
    ConfigError
        A setting is unknown, of the wrong type or out of range.

    Examples
    --------
    >>> create_reranker("mmr", trade_off=0.5).config
    MmrConfig(trade_off=0.5)
    """
    from recsys_core.models import Reranker

    made = default_registry().create(name, kind="reranker", **settings)
    if not isinstance(made, Reranker):
        raise PluginError(f"reranker {name!r}: expected the plugin to make a Reranker, got {type(made).__name__}.")
    return made


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered recommenders that match a shell pattern, sorted.

    Examples
    --------
    >>> list_models("*als*")
    ['als']
    """
    return sorted({entry.spec.name for entry in default_registry().entries("recommender", pattern)})


def load_dataset(name: str, /, **options: Any) -> Interactions:
    """Load a registered data set, such as ``"ml-100k"``; ``options`` go to its loader.

    Raises
    ------
    UnknownModelError
        No plugin registers the name.
    DataError
        The data can be had from none of its sources.
    """
    interactions: Interactions = default_registry().create(name, kind="dataset", **options)
    return interactions
