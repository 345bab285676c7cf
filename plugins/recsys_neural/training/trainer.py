"""The one trainer of all neural models."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from recsys_core.errors import ConfigError
from recsys_neural.training.batches import Batches
from recsys_neural.training.checkpoint import read_checkpoint, write_checkpoint
from recsys_neural.training.config import TrainingConfig
from recsys_neural.training.curve import EpochReport, plot_curve, write_curve
from recsys_neural.training.processes import Processes, joined_processes, pick_device

__all__ = ["StopTraining", "Trainer", "TrainingResult", "learning_rate_factor"]


class StopTraining(Exception):  # noqa: N818 - a request, like StopIteration
    """Raised by a callback to end the training after this epoch."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training brought.

    Parameters
    ----------
    best_epoch
        The epoch whose weights were kept, from 1: the best on validation, or the last without one.
    curve
        One report an epoch.
    """

    best_epoch: int
    curve: tuple[EpochReport, ...]


class Trainer:
    """Minimize an objective by AdamW, and keep the weights that validate best.

    Parameters
    ----------
    config
        The settings; see :class:`TrainingConfig`.
    callbacks
        Called with an :class:`EpochReport` after each epoch, in the first process only; one may raise
        :class:`StopTraining`.

    Notes
    -----
    The objective is a module whose ``forward(*batch)`` returns a scalar loss.  Under torchrun each process takes its
    share of every batch, and gradients and reported losses are means over the processes; the first process validates
    and writes the files.

    The order of epoch *e* depends on the seed and *e* alone, and a checkpoint keeps the weights, the optimizer, the
    random generators and the curve: a training that was killed goes on from its last whole epoch and ends in the same
    bits as one that was not, on a CPU with the same number of threads.

    Examples
    --------
    >>> import torch
    >>> from recsys_neural.training import RowBatches
    >>> class Distance(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.point = torch.nn.Parameter(torch.zeros(2))
    ...     def forward(self, rows):
    ...         return (rows - self.point).square().mean()
    >>> objective = Distance()
    >>> trainer = Trainer(TrainingConfig(n_epochs=200, learning_rate=0.1))
    >>> result = trainer.fit(objective, RowBatches(torch.ones(8, 2), batch_size=4))
    >>> result.best_epoch, objective.point.detach().round(decimals=2).tolist()
    (200, [1.0, 1.0])
    """

    def __init__(self, config: TrainingConfig, callbacks: Sequence[Callable[[EpochReport], object]] = ()) -> None:
        self.config = config
        self.callbacks = tuple(callbacks)
        self.device = pick_device(config.device)

    @contextmanager
    def seeded(self, stream: int = 0) -> Iterator[None]:
        """Seed torch and set its threads for a block, such as making a module; both are put back behind it.

        Parameters
        ----------
        stream
            Blocks of one seed and different streams draw differently.
        """
        n_threads = torch.get_num_threads()
        seed = int(np.random.SeedSequence([self.config.random_state, stream]).generate_state(1)[0])
        if self.config.n_threads:
            torch.set_num_threads(self.config.n_threads)
        try:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(seed)
                yield
        finally:
            torch.set_num_threads(n_threads)

    def fit(
        self,
        objective: nn.Module,
        batches: Batches,
        validate: Callable[[], float] | None = None,
        *,
        n_epochs: int | None = None,
        stage: str = "",
        progress: Callable[[int, int], object] | None = None,
    ) -> TrainingResult:
        """Train `objective` in place; it ends on the trainer's device, in evaluation mode, with the kept weights.

        Parameters
        ----------
        objective
            Module whose ``forward(*batch)`` returns the loss.
        batches
            The steps of an epoch.
        validate
            Returns a score, higher is better; called after each epoch without gradients and in evaluation mode.
        n_epochs
            Epochs, at most; the setting if None.
        stage
            Put into the names of the checkpoint and the learning curve, for models that train more than once.
        progress
            Called as ``progress(done, total)`` after each epoch.

        Returns
        -------
        TrainingResult

        Raises
        ------
        ConfigError
            The loss is no longer finite, or the checkpoint belongs to another training.
        """
        processes = joined_processes(self.device)
        with self.seeded(stream=1 + processes.rank):
            run = _Run(self, objective.to(self.device), batches, processes, n_epochs or self.config.n_epochs, stage)
            run.resume()
            while not run.is_over:
                run.train_epoch(validate)
                if progress is not None:
                    progress(run.state.epoch, run.n_epochs)
            return run.finish()


@dataclass
class _State:
    """What changes from epoch to epoch, beside the weights and the optimizer."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] | None = None
    stopped: bool = False
    curve: list[EpochReport] = field(default_factory=list)


class _Run:
    """One call of :meth:`Trainer.fit`."""

    def __init__(
        self, trainer: Trainer, objective: nn.Module, batches: Batches, processes: Processes, n_epochs: int, stage: str
    ) -> None:
        self.trainer, self.config, self.device = trainer, trainer.config, trainer.device
        self.objective, self.batches, self.processes, self.n_epochs = objective, batches, processes, n_epochs
        self.optimizer = _optimizer(objective, self.config)
        self.loss_of = objective
        if processes.world_size > 1:
            gpus = [self.device.index] if self.device.type == "cuda" else None
            # An encoder may hold weights that its batches do not need; the exchange would wait for their gradients.
            self.loss_of = DistributedDataParallel(objective, device_ids=gpus, find_unused_parameters=True)
        self.bf16 = _uses_bf16(self.config.precision, self.device)
        self.checkpoint = _staged(self.config.checkpoint, stage)
        self.curve_file = _staged(self.config.learning_curve, stage)
        self.state = _State()

    @property
    def is_over(self) -> bool:
        state, settings = self.state, self.config
        waited = 0 if state.best_weights is None else state.epoch - state.best_epoch
        impatient = waited >= settings.patience and waited * len(self.batches) >= settings.patience_steps
        return state.stopped or impatient or state.epoch >= self.n_epochs

    def train_epoch(self, validate: Callable[[], float] | None) -> None:
        """Train one epoch, validate, keep what is best, and write down how it went."""
        started = time.perf_counter()
        loss = self._take_steps()
        seconds = time.perf_counter() - started
        if not math.isfinite(loss):
            raise ConfigError(
                f"learning_rate: the loss is {loss} in epoch {self.state.epoch + 1}; "
                f"lower it from {self.config.learning_rate}, or set gradient_clip, for example to 1"
            )
        self.state.epoch += 1
        score = None if validate is None else self._validate(validate)
        rate = self.optimizer.param_groups[0]["lr"]
        report = EpochReport(self.state.epoch, loss, score, rate, seconds)
        self.state.curve.append(report)
        self._call_back(report)
        if self.processes.is_first:
            self._write()

    def _take_steps(self) -> float:
        self.objective.train()
        total = torch.zeros((), device=self.device)
        # The order depends on the seed and the epoch alone, so that a resumed training needs no state of it.
        rng = np.random.default_rng([self.config.random_state, self.state.epoch])
        step = self.state.epoch * len(self.batches)
        for batch in self.batches.epoch(rng, self.processes.rank, self.processes.world_size):
            _set_learning_rate(self.optimizer, self.config, step, self.n_epochs * len(self.batches))
            on_device = [tensor.to(self.device, non_blocking=True) for tensor in batch]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.loss_of(*on_device)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.config.gradient_clip:
                nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.gradient_clip)
            self.optimizer.step()
            total += loss.detach()  # read once an epoch: reading it makes a GPU wait
            step += 1
        return self.processes.mean_of(float(total) / len(self.batches), self.device)

    def _validate(self, validate: Callable[[], float]) -> float:
        score = 0.0
        if self.processes.is_first:
            self.objective.eval()
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                score = validate()
        score = self.processes.agree_on(score, self.device)
        if score > self.state.best_score:
            self.state.best_score, self.state.best_epoch = score, self.state.epoch
            weights = self.objective.state_dict()
            self.state.best_weights = {name: weight.detach().clone() for name, weight in weights.items()}
        return score

    def _call_back(self, report: EpochReport) -> None:
        stopped = False
        if self.processes.is_first:
            try:
                for callback in self.trainer.callbacks:
                    callback(report)
            except StopTraining:
                stopped = True
        self.state.stopped = bool(self.processes.agree_on(stopped, self.device))

    def finish(self) -> TrainingResult:
        """Put the kept weights in place, and draw the curve."""
        if self.curve_file is not None and self.processes.is_first:
            plot_curve(self.curve_file.with_suffix(".png"), self.state.curve)
        if self.state.best_weights is not None:
            self.objective.load_state_dict(self.state.best_weights)
        self.objective.eval()
        return TrainingResult(self.state.best_epoch or self.state.epoch, tuple(self.state.curve))

    def _write(self) -> None:
        if self.curve_file is not None:
            write_curve(self.curve_file, self.state.curve)
        if self.checkpoint is None:
            return
        state: dict[str, Any] = {
            "run": {**vars(self.state), "curve": [asdict(report) for report in self.state.curve]},
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        write_checkpoint(self.checkpoint, self._fingerprint(), state)

    def resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        saved = None if self.checkpoint is None else read_checkpoint(self.checkpoint, self._fingerprint())
        if saved is None:
            return
        self.objective.load_state_dict(saved["objective"])
        self.optimizer.load_state_dict(saved["optimizer"])
        curve = [EpochReport(**report) for report in saved["run"].pop("curve")]
        self.state = _State(**saved["run"], curve=curve)
        if self.processes.is_first:  # the other processes' dropout only has to differ from the first's
            torch.set_rng_state(saved["random"])
            if saved["random_cuda"] is not None:
                torch.cuda.set_rng_state(saved["random_cuda"], self.device)
        else:
            torch.manual_seed(torch.initial_seed() + self.state.epoch)

    def _fingerprint(self) -> str:
        """What must not differ between the training that wrote a checkpoint and the one that reads it."""
        elsewhere = {"checkpoint", "learning_curve", "n_threads", "patience", "patience_steps"}
        shapes = [(name, list(weight.shape)) for name, weight in self.objective.state_dict().items()]
        facts = [self.config.model_dump_json(exclude=elsewhere), self.n_epochs, len(self.batches), shapes]
        digest = hashlib.sha256(repr(facts).encode())
        # One epoch's first batch stands for the data: other histories give another one.
        first = next(iter(self.batches.epoch(np.random.default_rng(0), 0, 1)))
        for tensor in first:
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def learning_rate_factor(config: TrainingConfig, step: int, n_steps: int) -> float:
    """What the learning rate is multiplied by in a step.

    Parameters
    ----------
    config
        `warmup_steps` and `schedule` of it.
    step
        Number of the step, from 0.
    n_steps
        Steps of the whole training.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(n_steps - config.warmup_steps, 1)
    if config.schedule == "linear":
        return 1 - done
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def _set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int, n_steps: int) -> None:
    rate = config.learning_rate * learning_rate_factor(config, step, n_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate


def _optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # beta2 of .98 forgets a gradient's size after 50 steps rather than 1,000: most items are in few of them.
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _uses_bf16(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def _staged(path: str | None, stage: str) -> Path | None:
    if path is None:
        return None
    plain = Path(path)
    return plain.with_name(f"{plain.stem}-{stage}{plain.suffix}") if stage else plain
