"""The kit as the registry makes it."""

from __future__ import annotations

from recsys_core.testing import Kit
from recsys_neural.testing.checks import ENCODER_CHECKS
from recsys_neural.testing.subject import EncoderSubject

__all__ = ["encoder_kit"]


def encoder_kit() -> Kit:
    """What every encoder promises: see :data:`~recsys_neural.testing.ENCODER_CHECKS`."""
    return Kit(EncoderSubject, ENCODER_CHECKS)
