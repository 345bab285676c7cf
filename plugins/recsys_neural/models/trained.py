"""What recommenders that are trained by gradients have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from recsys_core import Interactions, Recommender
from recsys_neural.training import EpochReport, HeldOut, Task, Trainer, TrainingConfig, fit_held_out

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.models import Progress

__all__ = ["TrainedRecommender"]

M = TypeVar("M", bound=nn.Module)


class TrainedRecommender(Recommender):
    """Base of the recommenders whose objective the trainer minimizes.

    Attributes
    ----------
    callbacks
        Called with an :class:`~recsys_neural.training.EpochReport` after each epoch; set it before ``fit``.
    curve_
        One report an epoch of the training with validation.
    best_epoch_
        The epoch that validated best, or the last one without validation.
    """

    config: TrainingConfig
    callbacks: Sequence[Callable[[EpochReport], object]] = ()
    curve_: tuple[EpochReport, ...]
    best_epoch_: int

    def train(
        self,
        interactions: Interactions,
        make_task: Callable[[Histories, HeldOut | None], Task[M]],
        progress: Progress,
    ) -> M:
        """Train by the settings, and return the objective, on the CPU and in evaluation mode.

        Parameters
        ----------
        interactions
            Training data.
        make_task
            Makes the objective and its batches from the histories to train on and the users held out, if any; see
            :func:`~recsys_neural.training.fit_held_out`.
        progress
            Called as ``progress(done, total)``.
        """
        trainer = Trainer(self.config, self.callbacks)
        objective, result = fit_held_out(trainer, interactions.histories(), interactions.n_items, make_task, progress)
        self.curve_, self.best_epoch_ = result.curve, result.best_epoch
        return objective.cpu()
