"""The base of the models that read a history as a sequence: a subclass gives the network, and nothing else."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from recsys_core import Config, DotForm, Interactions
from recsys_core.models import SearchRange
from recsys_neural.models.trained import TrainedRecommender
from recsys_neural.networks.sequence import SequenceEncoder, encode_histories
from recsys_neural.training import HeldOut, ItemLoss, LossConfig, SequenceBatches, Task, Trainer
from recsys_neural.training.processes import n_processes

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.models import Progress
    from recsys_core.types import FloatArray

__all__ = ["AttentiveSequenceConfig", "NextItemObjective", "SequenceConfig", "SequenceRecommender"]


class SequenceConfig(LossConfig):
    """Settings of every sequence model."""

    n_factors: Annotated[int, SearchRange(32, 256, log=True)] = Field(
        64, ge=1, description="Length of an item's or a user's vector."
    )
    max_length: int = Field(50, ge=1, description="Newest items of a history that are read.")
    dropout: Annotated[float, SearchRange(0.0, 0.6)] = Field(
        0.2, ge=0, lt=1, description="Share of values dropped while training."
    )


class AttentiveSequenceConfig(SequenceConfig):
    """Settings of the sequence models that are made of blocks of attention."""

    n_blocks: Annotated[int, SearchRange(1, 4)] = Field(2, ge=1, description="Blocks of attention.")
    n_heads: int = Field(1, ge=1, description="Heads of each; a divisor of n_factors.")

    @model_validator(mode="after")
    def _heads_divide_factors(self) -> Self:
        if self.n_factors % self.n_heads:
            raise ValueError(f"n_heads: expected a divisor of n_factors, {self.n_factors}, got {self.n_heads}")
        return self


class NextItemObjective(nn.Module):
    """The loss of finding, at every position, the item that comes next.

    Parameters
    ----------
    encoder
        Gives the queries, and the items' vectors.
    loss
        Of queries and their targets.
    mean_positions
        Mean number of targets in a process's share of a batch.  A share weighs as many targets as it has, whatever its
        rows' lengths.
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


class SequenceRecommender(TrainedRecommender):
    """Base of models that predict the next item from the sequence of those before.

    A subclass names its config and builds a network that maps the vectors of a sequence to as many others, each of
    which depends on no later one.  The score of an item is the inner product of its vector with the network's last.

    Attributes
    ----------
    item_factors_
        float32 (n_items, n_factors).
    """

    config_class: ClassVar[type[Config]] = SequenceConfig
    config: SequenceConfig

    @abstractmethod
    def build_network(self) -> nn.Module:
        """Return the untrained network; see :mod:`recsys_neural.networks` for how it is called."""

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Train the encoder, and export it."""
        from recsys_core.export import encoder_from_torch

        encoder = self.fit_encoder(interactions, progress)
        item_factors = encoder.item_factors.detach().numpy().copy()
        exported = encoder_from_torch(encoder, max_length=self.config.max_length, item_factors=item_factors)
        return DotForm(item_factors, encoder=exported)

    def fit_encoder(self, interactions: Interactions, progress: Progress) -> SequenceEncoder:
        """Train, and return the torch module, on the CPU and in evaluation mode.

        Parameters
        ----------
        interactions
            Training data.
        progress
            Called as ``progress(done, total)``.
        """
        settings = self.config
        if interactions.histories().lengths.max(initial=0) < 2:
            warnings.warn(
                "interactions: nobody has two items, so there is no next item to learn from; the model is left as it "
                "was initialized.",
                UserWarning,
                stacklevel=4,
            )
            with Trainer(settings).seeded():
                encoder = SequenceEncoder(interactions.n_items, settings.n_factors, self.build_network())
            self.curve_, self.best_epoch_ = (), 0
            return encoder.eval()

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[NextItemObjective]:
            batches = SequenceBatches(histories, max_length=settings.max_length, batch_size=settings.batch_size)
            encoder = SequenceEncoder(interactions.n_items, settings.n_factors, self.build_network())
            loss = ItemLoss(settings, interactions.n_items)
            objective = NextItemObjective(encoder, loss, batches.mean_positions / n_processes())

            def validate() -> float:
                held = cast("HeldOut", held_out)
                device = encoder.item_factors.device
                queries = encode_histories(encoder, held.histories, settings.max_length, device)
                factors = encoder.item_factors.detach().float().cpu().numpy()
                return held.ndcg(queries, factors, n_threads=settings.n_threads)

            return Task(objective, batches, None if held_out is None else validate)

        return self.train(interactions, make_task, progress).encoder

    @property
    def item_factors_(self) -> FloatArray:
        """The items' vectors, float32 (n_items, n_factors)."""
        return cast("DotForm", self.form).item_factors
