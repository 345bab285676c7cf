"""The conformance kit of encoders, which ``recsys_core.testing`` finds by the plugin's hook."""

from __future__ import annotations

from recsys_neural.testing.checks import ENCODER_CHECKS
from recsys_neural.testing.kit import encoder_kit
from recsys_neural.testing.subject import EncoderSubject

__all__ = ["ENCODER_CHECKS", "EncoderSubject", "encoder_kit"]
