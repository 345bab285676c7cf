"""What the tests of the compiled operations share."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsys_core import _core, ops

if TYPE_CHECKING:
    from collections.abc import Iterator


# Where this names the folder of a CUDA module built over the emulation of a device (`make test-cuda`), that stands for
# the real one, and the tests marked "gpu" run on it.
if folder := os.environ.get("RECSYS_CUDA_EMULATED"):
    spec = importlib.util.spec_from_file_location("recsys_core._cuda", next(Path(folder).glob("_cuda*.so")))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["recsys_core._cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["recsys_core._cuda"])


@pytest.fixture(params=ops.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on every instruction set of this machine."""
    before = ops.isa()
    _core._set_isa(request.param)
    yield request.param
    _core._set_isa(before)
