"""Hypothesis without a deadline: on a busy machine the first example of a test may take long."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
