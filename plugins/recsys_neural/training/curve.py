"""The learning curve: what each epoch brought."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

__all__ = ["EpochReport", "plot_curve", "write_curve"]


@dataclass(frozen=True)
class EpochReport:
    """What an epoch brought.

    Parameters
    ----------
    epoch
        Number of the epoch, from 1.
    loss
        Mean training loss.
    score
        Validation score, higher is better, or None without validation.
    learning_rate
        At the epoch's end.
    seconds
        Time of training, without the validation.
    """

    epoch: int
    loss: float
    score: float | None
    learning_rate: float
    seconds: float


def write_curve(path: Path, reports: Sequence[EpochReport]) -> None:
    """Write the curve as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(EpochReport)])
        writer.writeheader()
        writer.writerows(asdict(report) for report in reports)


def plot_curve(path: Path, reports: Sequence[EpochReport]) -> None:
    """Draw the curve into a PNG file, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure  # not pyplot, which would open a window system

    figure = Figure(figsize=(7, 4), layout="constrained")
    loss_axis = figure.subplots()
    epochs = [report.epoch for report in reports]
    loss_axis.plot(epochs, [report.loss for report in reports], color="tab:blue")
    loss_axis.set(xlabel="epoch", ylabel="training loss")
    if reports[0].score is not None:
        score_axis = loss_axis.twinx()
        score_axis.plot(epochs, [report.score or 0.0 for report in reports], color="tab:orange")
        score_axis.set_ylabel("validation score")
    figure.savefig(path, dpi=120)
