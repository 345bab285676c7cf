"""Tuning: look for a model's best settings on a validation part of the training data.

Needs Optuna: ``pip install recsys-core[tune]``.
"""

from __future__ import annotations

from recsys_core.tuning.report import write_report
from recsys_core.tuning.result import Trial, Tuning
from recsys_core.tuning.tuner import tune

__all__ = ["Trial", "Tuning", "tune", "write_report"]
