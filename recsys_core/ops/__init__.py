"""The compiled core on NumPy and SciPy arrays: no model, registry or configuration needed."""

from __future__ import annotations

from recsys_core.ops.platform import available_isas, isa, max_threads

__all__ = ["available_isas", "isa", "max_threads"]
