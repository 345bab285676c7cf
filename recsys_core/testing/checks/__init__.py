"""The checks, in the order in which they run: each is a function of a :class:`~recsys_core.testing.Subject`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from recsys_core.testing.checks.answers import (
    check_batch_equals_single,
    check_empty_history,
    check_filters,
    check_finite_scores,
    check_large_k,
    check_order,
    check_similar_items,
    check_threads,
    check_unknown_items,
    check_unknown_users,
)
from recsys_core.testing.checks.deployment import check_bundle_round_trip, check_onnx_parity, check_runtime
from recsys_core.testing.checks.plugin import check_inert_plugin
from recsys_core.testing.checks.quality import check_quality
from recsys_core.testing.checks.training import (
    check_config_round_trip,
    check_defaults,
    check_empty_rows,
    check_fit_is_repeatable,
    check_fit_keeps_its_input,
    check_fit_returns_self,
    check_id_types,
    check_not_fitted,
    check_progress_can_stop,
    check_progress_rises,
    check_refit_forgets,
    check_search_space,
    check_single_event,
    check_watching_changes_nothing,
)
from recsys_core.testing.checks.updating import check_partial_fit
from recsys_core.testing.checks.user_features import check_user_features
from recsys_core.testing.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "check_batch_equals_single",
    "check_bundle_round_trip",
    "check_config_round_trip",
    "check_defaults",
    "check_empty_history",
    "check_empty_rows",
    "check_filters",
    "check_finite_scores",
    "check_fit_is_repeatable",
    "check_fit_keeps_its_input",
    "check_fit_returns_self",
    "check_id_types",
    "check_inert_plugin",
    "check_large_k",
    "check_not_fitted",
    "check_onnx_parity",
    "check_order",
    "check_partial_fit",
    "check_progress_can_stop",
    "check_progress_rises",
    "check_quality",
    "check_refit_forgets",
    "check_runtime",
    "check_search_space",
    "check_similar_items",
    "check_single_event",
    "check_threads",
    "check_unknown_items",
    "check_unknown_users",
    "check_user_features",
    "check_watching_changes_nothing",
]

Check: TypeAlias = Callable[[Subject], None]
"""Returns when the promise of its docstring is kept; raises ``CheckFailedError`` or ``NotApplicable`` otherwise."""

CHECKS: tuple[Check, ...] = (
    check_inert_plugin,
    check_defaults,
    check_config_round_trip,
    check_search_space,
    check_not_fitted,
    check_fit_returns_self,
    check_fit_is_repeatable,
    check_refit_forgets,
    check_fit_keeps_its_input,
    check_progress_rises,
    check_progress_can_stop,
    check_watching_changes_nothing,
    check_partial_fit,
    check_single_event,
    check_empty_rows,
    check_id_types,
    check_finite_scores,
    check_order,
    check_batch_equals_single,
    check_threads,
    check_large_k,
    check_filters,
    check_unknown_users,
    check_unknown_items,
    check_empty_history,
    check_similar_items,
    check_onnx_parity,
    check_bundle_round_trip,
    check_runtime,
    check_user_features,
    check_quality,
)
"""All checks, in the order in which they run."""
