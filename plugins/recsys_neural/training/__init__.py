"""Training of neural models: one trainer, named losses and packed sequences, shared by every model of this plugin."""

from __future__ import annotations

from recsys_neural.training.batches import Batch, Batches, RowBatches, SequenceBatches
from recsys_neural.training.config import Loss, LossConfig, TrainingConfig
from recsys_neural.training.cross_entropy import linear_cross_entropy
from recsys_neural.training.curve import EpochReport
from recsys_neural.training.fitting import Task, fit_held_out
from recsys_neural.training.history_batches import EventBatches, HistoryBatches
from recsys_neural.training.losses import ItemLoss, sampled_loss
from recsys_neural.training.trainer import StopTraining, Trainer, TrainingResult
from recsys_neural.training.validation import HeldOut, hold_out_last

__all__ = [
    "Batch",
    "Batches",
    "EpochReport",
    "EventBatches",
    "HeldOut",
    "HistoryBatches",
    "ItemLoss",
    "Loss",
    "LossConfig",
    "RowBatches",
    "SequenceBatches",
    "StopTraining",
    "Task",
    "Trainer",
    "TrainingConfig",
    "TrainingResult",
    "fit_held_out",
    "hold_out_last",
    "linear_cross_entropy",
    "sampled_loss",
]
