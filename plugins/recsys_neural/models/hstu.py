"""The generative recommender's units over the history."""

from __future__ import annotations

from recsys_neural.models.sequence import AttentiveSequenceConfig, SequenceRecommender
from recsys_neural.networks.hstu import HstuNetwork

__all__ = ["Hstu", "HstuConfig"]


class HstuConfig(AttentiveSequenceConfig):
    """Settings of :class:`Hstu`."""


class Hstu(SequenceRecommender):
    """Hierarchical sequential transduction units: pointwise attention, gated by the input (HSTU).

    Parameters
    ----------
    **settings
        Fields of :class:`HstuConfig`.

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
    A history's items are its only input: there are no actions, and no times, whose part of the attention bias falls
    away.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", ICML 2024, section 3.
    """

    config_class = HstuConfig
    config: HstuConfig

    def build_network(self) -> HstuNetwork:
        """Return the units."""
        settings = self.config
        return HstuNetwork(
            settings.n_factors,
            n_blocks=settings.n_blocks,
            n_heads=settings.n_heads,
            dropout=settings.dropout,
            max_length=settings.max_length,
        )
