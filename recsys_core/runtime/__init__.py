"""Running a bundle: no training code, no plugin and no torch."""

from __future__ import annotations

from recsys_core.runtime.runtime import Runtime, load

__all__ = ["Runtime", "load"]
