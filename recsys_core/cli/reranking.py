"""A re-ranker as it is written on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_core.models import FittedModel, Recommender, RerankedModel, Reranker

__all__ = ["Reranking", "read_reranker"]


@dataclass(frozen=True)
class Reranking:
    """A re-ranker, and how many candidates it chooses from."""

    reranker: Reranker
    options: dict[str, Any]

    def behind(self, model: Recommender | FittedModel) -> RerankedModel:
        """The model with the re-ranker behind it."""
        return model.reranked(self.reranker, **self.options)


def read_reranker(text: str | None) -> Reranking | None:
    """The re-ranker of ``"NAME"`` or ``"NAME,KEY=VALUE,..."``; None stays None.

    Raises
    ------
    ConfigError
        A setting is malformed, unknown or out of range.
    UnknownModelError
        No plugin registers the name.
    """
    from recsys_core.cli.run_config import toml_value
    from recsys_core.errors import ConfigError
    from recsys_core.registry import create_reranker

    if text is None:
        return None
    name, *pairs = text.split(",")
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--reranker: expected NAME,KEY=VALUE,... such as mmr,trade_off=0.5, got {text!r}.")
        settings[key.strip()] = toml_value(value.strip())
    options = {key: settings.pop(key) for key in ("n_candidates",) if key in settings}
    return Reranking(create_reranker(name.strip(), **settings), options)
