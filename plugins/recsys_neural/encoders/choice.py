"""Encoders by the name that a plugin registered, as settings of a recommender give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from recsys_core.errors import ConfigError, PluginError
from recsys_core.registry import default_registry
from recsys_neural.encoders.contract import Encoder, EntityInputs

__all__ = ["EncoderChoice", "build_encoder"]

EncoderChoice: TypeAlias = str | dict[str, Any]
"""A registered encoder's name, or a dict of ``name`` and its settings: ``{"name": "gru", "n_hidden": 32}``."""


def build_encoder(choice: str | Mapping[str, Any], inputs: EntityInputs, n_dims: int) -> Encoder:
    """Make an encoder.

    Parameters
    ----------
    choice
        A registered name, or a mapping of ``name`` and the encoder's settings.
    inputs
        What there is to know about an entity.
    n_dims
        Length of the vectors to return.

    Raises
    ------
    ConfigError
        The choice has no name, or a setting is unknown, of the wrong type or out of range.
    UnknownModelError
        No plugin registers the name.
    PluginError
        What is registered is no :class:`Encoder`.

    Examples
    --------
    >>> build_encoder({"name": "mlp", "n_hidden": 16}, EntityInputs(n_numeric=3), n_dims=8).n_dims
    8
    """
    settings = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"encoder: expected a name or a dict with a name, got {choice!r}.")
    encoder = default_registry().create(name, kind="encoder", inputs=inputs, n_dims=n_dims, **settings)
    if not isinstance(encoder, Encoder):
        raise PluginError(f"encoder {name!r}: expected a recsys_neural.encoders.Encoder, got {type(encoder).__name__}.")
    return encoder
