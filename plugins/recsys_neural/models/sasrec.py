"""Self-attention over the history."""

from __future__ import annotations

from pydantic import Field

from recsys_neural.models.sequence import AttentiveSequenceConfig, SequenceRecommender
from recsys_neural.networks.transformer import Block, TransformerNetwork

__all__ = ["Sasrec", "SasrecConfig"]


class SasrecConfig(AttentiveSequenceConfig):
    """Settings of :class:`Sasrec`."""

    expansion: int = Field(4, ge=1, description="Width of a block's hidden layer, in multiples of n_factors.")
    block: Block = Field("gated", description='"standard", or "gated" by the input with a SwiGLU network.')
    input_norm: bool = Field(True, description="Whether a layer norm comes before the first block: it learns faster.")


class Sasrec(SequenceRecommender):
    r"""Causal self-attention over the items of a history, oldest first (SASRec).

    The score of item *i* after a history *h* is :math:`f(v_{h_1}, \dots, v_{h_n})^\top v_i`, with *f* the last state of
    a transformer, trained to find at every position the item that follows.

    Parameters
    ----------
    **settings
        Fields of :class:`SasrecConfig`.

    Attributes
    ----------
    item_factors_
        float32 (n_items, n_factors).
    curve_
        One :class:`~recsys_neural.training.EpochReport` an epoch.
    best_epoch_
        The epoch that validated best.

    Notes
    -----
    Positions are counted from the newest item.  With ``block="standard"``, ``loss="bce"``, ``n_negatives=1`` and
    ``shared_negatives=False`` it is the model of the paper, but for the places of the layer norms; the defaults are
    what later work found to matter, the loss above all.

    References
    ----------
    W.-C. Kang and J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
    A. Klenitskiy and A. Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
    D. Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", RecSys 2025.
    """

    config_class = SasrecConfig
    config: SasrecConfig

    def build_network(self) -> TransformerNetwork:
        """Return the transformer."""
        settings = self.config
        return TransformerNetwork(
            settings.n_factors,
            n_blocks=settings.n_blocks,
            n_heads=settings.n_heads,
            dropout=settings.dropout,
            expansion=settings.expansion,
            max_length=settings.max_length,
            block=settings.block,
            input_norm=settings.input_norm,
        )
