"""Why CUDA cannot be used is said exactly, whatever the reason; no device is needed to test that."""

from __future__ import annotations

import importlib
import json
import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from recsys_core import ops
from recsys_core.cli import app
from recsys_core.errors import ConfigError, DeviceError
from recsys_core.ops import cuda_devices

BUILT = "75-real,80-real,86-real,89-real,90,100-real,120"


def machine(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    """Pretend that the CUDA module is built and that the runtime reports this."""
    report = {"driver_version": 13000, "runtime_version": 13000, "architectures": BUILT, "error": "", "devices": []}
    module = types.SimpleNamespace(status=lambda: report | found)
    monkeypatch.setitem(sys.modules, "recsys_core._cuda", module)


def device(major: int, minor: int) -> dict[str, Any]:
    return {"name": "card", "capability": (major, minor), "memory": 1 << 33}


def fail_to_import(monkeypatch: pytest.MonkeyPatch, fault: ImportError) -> None:
    def fail(name: str) -> None:
        raise fault

    monkeypatch.setattr(importlib, "import_module", fail)


def test_a_build_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_import(monkeypatch, ModuleNotFoundError("No module named 'recsys_core._cuda'"))
    state = ops.cuda_state()
    assert "built without CUDA" in str(state.problem)
    assert "recsys-core-cu13" in str(state.problem)
    with pytest.raises(DeviceError, match="built without CUDA"):
        ops.topk(np.ones((1, 2)), np.ones((3, 2)), k=1, device="cuda")


def test_a_module_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_import(monkeypatch, ImportError("libstdc++.so.6: version `GLIBCXX_9' not found"))
    assert "GLIBCXX_9" in str(ops.cuda_state().problem)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"driver_version": 0, "error": "cudaErrorInsufficientDriver"}, "no NVIDIA driver was found"),
        ({"driver_version": 12040}, "the driver supports CUDA 12.4 and this library was built with 13.0"),
        ({"error": "cudaErrorNoDevice"}, "no CUDA device was found"),
        ({"error": "cudaErrorSystemNotReady"}, "cudaErrorSystemNotReady"),
        ({"devices": [device(6, 1)]}, "its compute capability is 6.1, and this library was compiled for 75-real"),
    ],
)
def test_the_reason_is_the_reason(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], reason: str) -> None:
    machine(monkeypatch, **found)
    problem = str(ops.cuda_state().problem)
    assert reason in problem
    with pytest.raises(DeviceError, match=f"got 'cuda': {re.escape(problem)}"):
        cuda_devices.chosen_device("cuda")
    doctor = CliRunner().invoke(app, ["doctor", "--json"])
    assert json.loads(doctor.stdout)["core"]["cuda"]["problem"] == problem
    assert doctor.exit_code == 0  # nothing else needs CUDA


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 7), (8, 9), (9, 0), (10, 3), (11, 0), (12, 1), (13, 0)])
def test_devices_that_code_or_ptx_covers_can_be_used(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    machine(monkeypatch, devices=[device(*capability)])
    state = ops.cuda_state()
    assert state.problem is None
    assert (state.runtime, state.driver) == ("13.0", "13.0")
    assert state.devices[0].problem is None


def test_machine_code_runs_on_its_own_generation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, architectures="86-real", devices=[device(8, 0), device(8, 9), device(9, 0)])
    assert [found.problem is None for found in ops.cuda_state().devices] == [False, True, False]


def test_the_first_usable_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, devices=[device(6, 1), device(9, 0)])
    assert cuda_devices.chosen_device("cuda") == 1
    assert cuda_devices.chosen_device("cuda:1") == 1
    with pytest.raises(DeviceError, match=r"compute capability is 6\.1"):
        cuda_devices.chosen_device("cuda:0")
    with pytest.raises(DeviceError, match=r"one of the 2 CUDA device\(s\) found, got 'cuda:2'"):
        cuda_devices.chosen_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "", 0])
def test_a_misspelt_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device must be"):
        ops.als(sp.eye_array(3, format="csr", dtype=np.float32), 2, device=name)


def test_the_cpu_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_import(monkeypatch, ImportError("must not be imported"))
    assert cuda_devices.chosen_device("cpu") is None


@pytest.mark.parametrize("call", ["als", "bpr", "warp", "fold_in"])
def test_every_operation_on_a_device_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    machine(monkeypatch, driver_version=0)
    interactions = sp.eye_array(3, format="csr", dtype=np.float32)
    arguments = (interactions, np.ones((3, 2), dtype=np.float32)) if call == "fold_in" else (interactions, 2)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        getattr(ops.cuda, call)(*arguments)
    with pytest.raises(ConfigError, match=r"call the function of recsys_core\.ops"):
        getattr(ops.cuda, call)(*arguments, device="cpu")
