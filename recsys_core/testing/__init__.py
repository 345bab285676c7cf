"""The conformance kits: what recommenders and the rest promise, as checks for plugin authors to run on their own."""

from __future__ import annotations

from recsys_core.testing.checks import CHECKS, Check
from recsys_core.testing.checks.plugin import check_inert_plugin, expect_settings, expect_strict
from recsys_core.testing.data import HeldOut, block_frame, block_interactions, held_out_items
from recsys_core.testing.kit import Kit, check_conformance, find_kit, parametrize_with_checks
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.report import CheckResult, ConformanceReport
from recsys_core.testing.subject import Registered, Subject

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailedError",
    "CheckResult",
    "ConformanceReport",
    "HeldOut",
    "Kit",
    "NotApplicable",
    "Registered",
    "Subject",
    "block_frame",
    "block_interactions",
    "check_conformance",
    "check_inert_plugin",
    "expect",
    "expect_settings",
    "expect_strict",
    "find_kit",
    "held_out_items",
    "parametrize_with_checks",
]
