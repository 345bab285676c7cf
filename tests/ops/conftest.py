"""What the tests of the compiled operations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recsys_core import _core, ops

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=ops.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on every instruction set of this machine."""
    before = ops.isa()
    _core._set_isa(request.param)
    yield request.param
    _core._set_isa(before)
