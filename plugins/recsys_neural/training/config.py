"""The settings that every neural model shares."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from recsys_core import Config
from recsys_core.models import SearchRange

__all__ = ["Loss", "LossConfig", "Precision", "Schedule", "TrainingConfig"]

Loss: TypeAlias = Literal["cross_entropy", "sampled_softmax", "gbce", "bce", "bpr"]
Schedule: TypeAlias = Literal["constant", "linear", "cosine"]
Precision: TypeAlias = Literal["auto", "float32", "bf16"]
_SAMPLED: dict[str, tuple[Loss, ...]] = {"loss": ("sampled_softmax", "gbce", "bce", "bpr")}


class TrainingConfig(Config):
    """How a neural model is trained; the models' own settings come on top."""

    n_epochs: int = Field(100, ge=1, description="Passes over the training data, at most.")
    batch_size: int = Field(128, ge=1, description="Users in a step, over all processes.")
    learning_rate: Annotated[float, SearchRange(1e-4, 1e-2, log=True)] = Field(
        1e-3, gt=0, description="Largest step of AdamW."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled decay of matrices; biases and norms have none.")
    schedule: Schedule = Field("constant", description="The learning rate after the warm-up; the others fall to 0.")
    warmup_steps: int = Field(0, ge=0, description="Steps in which the learning rate rises from 0.")
    gradient_clip: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0 does not clip.")
    validation: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of users whose last item is held out to find the best epoch, 1 for all; 0 trains n_epochs.",
    )
    patience: int = Field(10, ge=1, description="Epochs without a gain on validation before training stops.")
    patience_steps: int = Field(
        200, ge=0, description="Steps that patience lasts at least: an epoch of few of them shows no gain."
    )
    refit: bool = Field(False, description="Train anew on all data, for as many epochs as validation found best.")
    device: str = Field("auto", description='"auto" takes a GPU if there is one; or "cpu", "cuda", "cuda:1", "mps".')
    precision: Precision = Field("auto", description='"auto" is bf16 on GPUs that have it, float32 elsewhere.')
    checkpoint: str | None = Field(None, description="File to keep the state in; training goes on from it exactly.")
    learning_curve: str | None = Field(None, description="CSV file to write; a plot goes beside it with matplotlib.")
    random_state: int = Field(0, ge=0, description="Seed of the weights, the order, the negatives and the dropout.")
    n_threads: int = Field(0, ge=0, description="Threads of torch and of the validation, 0 for torch's own number.")


class LossConfig(TrainingConfig):
    """Training by one of the losses over items."""

    loss: Loss = Field("cross_entropy", description="What is minimized.")
    n_negatives: Annotated[int, SearchRange(32, 2048, log=True, when=_SAMPLED)] = Field(
        256, ge=1, description="Items drawn for the sampled losses."
    )
    shared_negatives: bool = Field(
        True, description="Draw them once a step for all positions, which costs one matrix product; or anew for each."
    )
    calibration: float = Field(0.75, ge=0, le=1, description="t of gbce: 0 is bce, 1 the calibration of a softmax.")
    position_chunk: int = Field(
        0, ge=0, description="Positions whose logits cross_entropy holds at a time; 0 for as many as suit the device."
    )
