"""Evaluation that knows the metrics which plugins register.

Not re-exported by the package: it needs the data layer, and listing plugins does not.
"""

from __future__ import annotations

import functools
from typing import Any

from recsys_core import metrics
from recsys_core.errors import PluginError
from recsys_core.metrics import Evaluation, Metric, split_name, standard_metrics
from recsys_core.registry.registry import default_registry

__all__ = ["evaluate", "find_metric"]


def find_metric(name: str) -> Metric:
    """Make a metric by name, with or without a cut-off: ``"ndcg@10"``, ``"ndcg"``.

    The standard names mean the standard metrics whatever is installed; all others are asked of the plugins.

    Raises
    ------
    ConfigError
        Neither the standard metrics nor a plugin's have the name, or the cut-off is malformed.
    PluginError
        What the plugin makes is not a metric.

    Examples
    --------
    >>> find_metric("recall@20")
    Recall(k=20, capped=False)
    """
    base, k = split_name(name)
    registered = {entry.spec.name for entry in default_registry().entries("metric")}
    if base in standard_metrics() or base not in registered:
        return metrics.metric(name)
    made = default_registry().create(base, kind="metric", k=k)
    if not isinstance(made, Metric):
        raise PluginError(f"metric {base!r}: expected the plugin to make a Metric, got {type(made).__name__}.")
    return made


@functools.wraps(metrics.evaluate)
def evaluate(*args: Any, **options: Any) -> Evaluation:  # noqa: D103 - the wrapped function's docstring
    return metrics.evaluate(*args, **{"resolve": find_metric, **options})
