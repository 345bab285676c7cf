"""A recurrent network over the history."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys_core.models import SearchRange
from recsys_neural.models.sequence import SequenceConfig, SequenceRecommender
from recsys_neural.networks.gru import GruNetwork

__all__ = ["Gru4rec", "Gru4recConfig"]


class Gru4recConfig(SequenceConfig):
    """Settings of :class:`Gru4rec`."""

    n_units: Annotated[int, SearchRange(64, 512, log=True)] = Field(128, ge=1, description="Length of the state.")
    n_layers: int = Field(1, ge=1, description="Recurrent layers.")
    learning_rate: Annotated[float, SearchRange(1e-4, 1e-2, log=True)] = Field(
        3e-3, gt=0, description="Largest step of AdamW."
    )


class Gru4rec(SequenceRecommender):
    """Gated recurrent units over the items of a history (GRU4Rec).

    Parameters
    ----------
    **settings
        Fields of :class:`Gru4recConfig`.

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
    Each user's history is one session.  The paper's session-parallel batches, which carry the state from step to step,
    are not needed where a whole history fits in a batch.

    References
    ----------
    B. Hidasi, A. Karatzoglou, L. Baltrunas and D. Tikk, "Session-based Recommendations with Recurrent Neural Networks",
    ICLR 2016.  B. Hidasi and A. Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
    Recommendations", CIKM 2018 (sampled losses and tied item vectors).
    """

    config_class = Gru4recConfig
    config: Gru4recConfig

    def build_network(self) -> GruNetwork:
        """Return the recurrent network."""
        settings = self.config
        return GruNetwork(
            settings.n_factors, n_units=settings.n_units, n_layers=settings.n_layers, dropout=settings.dropout
        )
