"""Encoders by the name that a plugin registered, as settings of a recommender give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recsys_core.errors import ConfigError, PluginError
from recsys_core.registry import default_registry
from recsys_neural.encoders.contract import Encoder, EntityInputs
from recsys_neural.encoders.examples import example_batch

__all__ = ["EncoderChoice", "build_encoder"]

EncoderChoice: TypeAlias = str | dict[str, Any]
"""A registered encoder's name, or a dict of ``name`` and its settings: ``{"name": "gru", "n_hidden": 32}``."""


def build_encoder(choice: str | Mapping[str, Any], inputs: EntityInputs, n_dims: int) -> Encoder:
    """Make an encoder, and try it on made-up entities, so that its faults are not found in the middle of training.

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
        What is registered is no :class:`Encoder`, or one that fails, or that answers with another shape or type than
        the contract's or with NaN.

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
    _try(encoder, name)
    return encoder


def _try(encoder: Encoder, name: str) -> None:
    """Refuse an encoder that does not keep the plainest of its promises; the conformance kit looks at all of them."""
    advice = f"; tell its author, whom `recsys plugins check {name}` tells more."
    batch = example_batch(encoder.inputs, _N_TRIED)
    was_training = encoder.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            encoded = encoder.eval()(dict(batch))
    except Exception as cause:
        raise PluginError(f"encoder {name!r}: fails with {type(cause).__name__}: {cause}{advice}") from cause
    finally:
        encoder.train(was_training)
    if not isinstance(encoded, Tensor):
        raise PluginError(f"encoder {name!r}: expected a Tensor, got {type(encoded).__name__}{advice}")
    expected, got = (_N_TRIED, encoder.n_dims), tuple(encoded.shape)
    if got != expected or encoded.dtype != torch.float32:
        raise PluginError(f"encoder {name!r}: expected float32 {expected}, got {encoded.dtype} {got}{advice}")
    finite = torch.isfinite(encoded).all(dim=1)
    if not finite.all():
        whom = "one of whom nothing is known" if not finite[0] else "one of whom something is known"
        raise PluginError(f"encoder {name!r}: expected finite numbers, got NaN or infinity for {whom}{advice}")


_N_TRIED = 4
