"""How every neural model is fitted: hold out, train, and train anew on all data if asked to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

from recsys_neural.training.batches import Batches
from recsys_neural.training.trainer import Trainer, TrainingResult
from recsys_neural.training.validation import HeldOut, hold_out_last

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.models import Progress

__all__ = ["Task", "fit_held_out"]

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Task(Generic[M]):
    """What a model gives to its trainer.

    Parameters
    ----------
    objective
        Module whose ``forward(*batch)`` returns the loss.
    batches
        The steps of an epoch.
    validate
        Returns the validation score, or None without held-out users.
    """

    objective: M
    batches: Batches
    validate: Callable[[], float] | None = None


def fit_held_out(
    trainer: Trainer,
    histories: Histories,
    n_items: int,
    make_task: Callable[[Histories, HeldOut | None], Task[M]],
    progress: Progress,
) -> tuple[M, TrainingResult]:
    """Fit a model with the validation that its settings ask for.

    Parameters
    ----------
    trainer
        Holds the settings: `validation` and `refit` say what is held out and whether it is trained on in the end.
    histories
        All training data, one row a user, oldest first.
    n_items
        Number of items.
    make_task
        Makes the module, freshly, and its batches from the histories to train on, and the validation from the users
        held out, if any; called under the trainer's seed.
    progress
        Called as ``progress(done, total)`` after each epoch.

    Returns
    -------
    objective
        The trained module, in evaluation mode.
    result
        Of the training with validation, also where the model was trained anew.
    """
    settings = trainer.config
    n_trainings = 2 if settings.refit and settings.validation > 0 else 1
    total = n_trainings * settings.n_epochs
    training, held_out = hold_out_last(histories, n_items, settings.validation, settings.random_state)
    with trainer.seeded():
        task = make_task(training, held_out)
    result = trainer.fit(task.objective, task.batches, task.validate, progress=lambda done, _: progress(done, total))
    if n_trainings == 1 or held_out is None:
        return task.objective, result
    with trainer.seeded():
        task = make_task(histories, None)
    trainer.fit(
        task.objective,
        task.batches,
        n_epochs=result.best_epoch,
        stage="refit",
        progress=lambda done, _: progress(settings.n_epochs + done, total),
    )
    return task.objective, result
