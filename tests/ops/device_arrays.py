"""Arrays on a device for tests: torch's on a real one, and on the emulated one, whose memory is the host's, NumPy's."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

EMULATED = "RECSYS_CUDA_EMULATED" in os.environ
_CPU, _CUDA = 1, 2  # as DLPack numbers them


class Relabelled:
    """An array whose DLPack capsules say that it lies elsewhere than its owner thinks."""

    def __init__(self, array: Any, device: int) -> None:
        self.array, self.device = array, device
        self.streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, stream: int | None = None, **_: object) -> object:
        self.streams.append(stream)
        capsule = self.array.__dlpack__()
        api = ctypes.pythonapi.PyCapsule_GetPointer
        api.restype, api.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        # struct { void* data; struct { int32 type, index; } device; ... }
        ctypes.c_int32.from_address(api(capsule, b"dltensor") + 8).value = self.device
        return capsule


def on_device(array: np.ndarray) -> Any:
    """Return the array as another library's on the device; skip the test where there is no such library."""
    if EMULATED:
        return Relabelled(array, _CUDA)
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch.from_numpy(array).cuda()


def consumed(array: Any) -> np.ndarray:
    """Return what another library reads of a result on the device, through DLPack."""
    if EMULATED:
        return np.from_dlpack(Relabelled(array, _CPU))
    torch = pytest.importorskip("torch")
    return torch.from_dlpack(array).cpu().numpy()


def interactions(n_users: int = 60 if EMULATED else 300, n_items: int = 120, seed: int = 0) -> sp.csr_matrix:
    """Random interactions of a size that the device, real or emulated, is quick with."""
    matrix = sp.random(n_users, n_items, density=0.08, format="csr", dtype=np.float32, rng=np.random.default_rng(seed))
    matrix.data[:] = 1 + np.floor(matrix.data * 3)
    return matrix
