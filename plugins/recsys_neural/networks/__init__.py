"""Building blocks of encoders: networks over sequences of vectors, written so that torch exports them to ONNX.

Every sequence network is called with vectors float (n_rows, T, n_factors) and a mask bool (n_rows, T), True where a
position is real, and returns vectors of the same shape, where the one at a position depends on real positions up to it
only.  Rows are right-aligned: padding comes first.
"""

from __future__ import annotations

from recsys_neural.networks.attention import SelfAttention, causal_mask
from recsys_neural.networks.convolution import ConvolutionNetwork
from recsys_neural.networks.gru import GruNetwork
from recsys_neural.networks.hstu import HstuNetwork
from recsys_neural.networks.transformer import TransformerNetwork

__all__ = [
    "ConvolutionNetwork",
    "GruNetwork",
    "HstuNetwork",
    "SelfAttention",
    "TransformerNetwork",
    "causal_mask",
]
