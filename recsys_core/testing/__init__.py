"""The conformance kit: what every recommender promises, as checks for plugin authors to run on their own."""

from __future__ import annotations

from recsys_core.testing.checks import CHECKS, Check
from recsys_core.testing.data import HeldOut, block_frame, block_interactions, held_out_items
from recsys_core.testing.kit import check_recommender, parametrize_with_checks
from recsys_core.testing.outcome import CheckFailedError, NotApplicable
from recsys_core.testing.report import CheckResult, ConformanceReport
from recsys_core.testing.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailedError",
    "CheckResult",
    "ConformanceReport",
    "HeldOut",
    "NotApplicable",
    "Subject",
    "block_frame",
    "block_interactions",
    "check_recommender",
    "held_out_items",
    "parametrize_with_checks",
]
