"""The base of the models that read a history as a sequence: a subclass gives the network, and nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field
from torch import Tensor, nn

from recsys_core import Config, DotForm, Interactions, Recommender
from recsys_neural.networks.sequence import SequenceEncoder, encode_histories
from recsys_neural.training import (
    EpochReport,
    HeldOut,
    ItemLoss,
    LossConfig,
    SequenceBatches,
    Task,
    Trainer,
    fit_held_out,
)

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.models import Progress
    from recsys_core.types import FloatArray

__all__ = ["NextItemObjective", "SequenceConfig", "SequenceRecommender"]


class SequenceConfig(LossConfig):
    """Settings of every sequence model."""

    n_factors: int = Field(64, ge=1, description="Length of an item's or a user's vector.")
    max_length: int = Field(50, ge=1, description="Newest items of a history that are read.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of values dropped while training.")


class NextItemObjective(nn.Module):
    """The loss of finding, at every position, the item that comes next.

    Parameters
    ----------
    encoder
        Gives the queries, and the items' vectors.
    loss
        Of queries and their targets.
    mean_positions
        Mean number of targets in a batch.  A batch weighs as many targets as it has, whatever its rows' lengths.
    """

    def __init__(self, encoder: SequenceEncoder, loss: ItemLoss, mean_positions: float) -> None:
        super().__init__()
        self.encoder, self.loss, self.mean_positions = encoder, loss, mean_positions

    def forward(self, history: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of int64 (n_rows, T) histories and targets, both padded with -1."""
        real = targets >= 0
        states = self.encoder.states(history)[real]
        loss: Tensor = self.loss(states, targets[real], self.encoder.item_factors)
        return loss * (len(states) / self.mean_positions)


class SequenceRecommender(Recommender):
    """Base of models that predict the next item from the sequence of those before.

    A subclass names its config and builds a network that maps the vectors of a sequence to as many others, each of
    which depends on no later one.  The score of an item is the inner product of its vector with the network's last.

    Attributes
    ----------
    callbacks
        Called with an :class:`~recsys_neural.training.EpochReport` after each epoch; set it before ``fit``.
    curve_
        One report an epoch of the training with validation.
    best_epoch_
        The epoch that validated best, or the last one without validation.
    item_factors_
        float32 (n_items, n_factors).
    """

    config_class: ClassVar[type[Config]] = SequenceConfig
    config: SequenceConfig
    callbacks: Sequence[Callable[[EpochReport], object]] = ()

    @abstractmethod
    def build_network(self) -> nn.Module:
        """Return the untrained network; see :mod:`recsys_neural.networks` for how it is called."""

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Train the encoder, and export it."""
        from recsys_core.export import encoder_from_torch

        encoder = self.fit_encoder(interactions, progress).cpu()
        item_factors = encoder.item_factors.detach().numpy().copy()
        exported = encoder_from_torch(encoder, max_length=self.config.max_length, item_factors=item_factors)
        return DotForm(item_factors, encoder=exported)

    def fit_encoder(self, interactions: Interactions, progress: Progress) -> SequenceEncoder:
        """Train, and return the torch module in evaluation mode, on the device that it was trained on.

        Parameters
        ----------
        interactions
            Training data.
        progress
            Called as ``progress(done, total)``.
        """
        settings = self.config
        trainer = Trainer(settings, self.callbacks)

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[NextItemObjective]:
            batches = SequenceBatches(histories, max_length=settings.max_length, batch_size=settings.batch_size)
            encoder = SequenceEncoder(interactions.n_items, settings.n_factors, self.build_network())
            objective = NextItemObjective(encoder, ItemLoss(settings, interactions.n_items), batches.mean_positions)

            def validate() -> float:
                held = cast("HeldOut", held_out)
                queries = encode_histories(encoder, held.histories, settings.max_length, trainer.device)
                factors = encoder.item_factors.detach().float().cpu().numpy()
                return held.ndcg(queries, factors, n_threads=settings.n_threads)

            return Task(objective, batches, None if held_out is None else validate)

        objective, result = fit_held_out(trainer, interactions.histories(), interactions.n_items, make_task, progress)
        self.curve_, self.best_epoch_ = result.curve, result.best_epoch
        return objective.encoder

    @property
    def item_factors_(self) -> FloatArray:
        """The items' vectors, float32 (n_items, n_factors)."""
        return cast("DotForm", self.form).item_factors
