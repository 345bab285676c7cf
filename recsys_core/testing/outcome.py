"""How a check ends early: with a fault, or because it does not apply."""

from __future__ import annotations

__all__ = ["CheckFailedError", "NotApplicable", "expect"]


class CheckFailedError(AssertionError):
    """A promise is not kept; the message says which, and what happened instead."""


class NotApplicable(Exception):  # noqa: N818 - it is no error
    """The check says nothing about this model; the message is the reason."""


def expect(condition: object, message: str) -> None:
    """Fail the check with ``message`` unless ``condition`` holds.

    Unlike ``assert``, it is there under ``python -O`` too.
    """
    if not condition:
        raise CheckFailedError(message)
