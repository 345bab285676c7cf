"""Convolutions over the newest items."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys_core.models import SearchRange
from recsys_neural.models.sequence import SequenceConfig, SequenceRecommender
from recsys_neural.networks.convolution import ConvolutionNetwork

__all__ = ["Caser", "CaserConfig"]


class CaserConfig(SequenceConfig):
    """Settings of :class:`Caser`."""

    window: Annotated[int, SearchRange(2, 10)] = Field(5, ge=1, description="Newest items that the filters see.")
    n_horizontal: Annotated[int, SearchRange(4, 64, log=True)] = Field(
        16, ge=1, description="Horizontal filters of each height from 1 to window."
    )
    n_vertical: int = Field(4, ge=1, description="Vertical filters.")


class Caser(SequenceRecommender):
    """Horizontal and vertical convolutions over the embeddings of the newest items (Caser).

    Parameters
    ----------
    **settings
        Fields of :class:`CaserConfig`.

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
    No vector of the user joins the filters' answers, so that strangers can be asked for, and items are scored by the
    vectors that come in.  Every position of a history is trained on at once.

    References
    ----------
    J. Tang and K. Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM
    2018.
    """

    config_class = CaserConfig
    config: CaserConfig

    def build_network(self) -> ConvolutionNetwork:
        """Return the filters."""
        settings = self.config
        return ConvolutionNetwork(
            settings.n_factors,
            window=settings.window,
            n_horizontal=settings.n_horizontal,
            n_vertical=settings.n_vertical,
            dropout=settings.dropout,
        )
