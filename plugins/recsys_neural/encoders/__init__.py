"""Encoders of users and items, and the contract that a third party's follows too."""

from __future__ import annotations

try:
    import torch  # noqa: F401 - the first thing to miss, said in the user's terms
except ImportError as missing:
    raise ImportError(
        "recsys_neural: the encoders need torch; install it with pip install 'recsys-core[torch]'."
    ) from missing

from recsys_neural.encoders.attention import AttentionEncoder, TargetAttention
from recsys_neural.encoders.choice import EncoderChoice, build_encoder
from recsys_neural.encoders.cnn import CnnEncoder
from recsys_neural.encoders.contract import Encoder, EntityBatch, EntityInputs
from recsys_neural.encoders.embedding import EntityEmbedding
from recsys_neural.encoders.examples import example_batch
from recsys_neural.encoders.gru import GruEncoder
from recsys_neural.encoders.mlp import MlpEncoder
from recsys_neural.encoders.text import TextEncoder
from recsys_neural.encoders.transformer import TransformerEncoder

__all__ = [
    "AttentionEncoder",
    "CnnEncoder",
    "Encoder",
    "EncoderChoice",
    "EntityBatch",
    "EntityEmbedding",
    "EntityInputs",
    "GruEncoder",
    "MlpEncoder",
    "TargetAttention",
    "TextEncoder",
    "TransformerEncoder",
    "build_encoder",
    "example_batch",
]
