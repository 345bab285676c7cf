"""What CUDA can do here, and why not: :func:`cuda_state` and the choice of a device."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_core.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from recsys_core import _cuda

__all__ = ["CudaDevice", "CudaState", "chosen_device", "cuda_module", "cuda_state"]

_BUILD = "pip install recsys-core-cu13, or build with -C cmake.define.RECSYS_CUDA=ON"


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device.

    Attributes
    ----------
    index
        Its number, as in ``"cuda:1"``.
    name
        What its maker calls it.
    capability
        Compute capability, as (major, minor).
    memory
        Bytes of device memory.
    problem
        Why it cannot be used, or None.
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    problem: str | None


@dataclass(frozen=True)
class CudaState:
    """What CUDA can do here.

    Attributes
    ----------
    problem
        Why ``device="cuda"`` cannot be used at all, with the remedy; None where a device can be used.
    runtime, driver
        Versions of CUDA that this library was built with and that the driver supports, such as "13.0"; None where
        unknown.
    architectures
        What it was compiled for, such as ("75-real", "90"); a bare number holds for later devices too.
    devices
        The devices found, usable or not.
    """

    problem: str | None
    runtime: str | None = None
    driver: str | None = None
    architectures: tuple[str, ...] = ()
    devices: tuple[CudaDevice, ...] = ()


def cuda_state() -> CudaState:
    """Find out what CUDA can do here.

    Returns
    -------
    CudaState
        The versions, the devices, and the reason why there is nothing to use, if so.

    Notes
    -----
    Takes milliseconds without a driver, and up to a second where there is one that has not been asked yet.  Never
    raises: a module that cannot be loaded is a reason too.

    Examples
    --------
    >>> from recsys_core import ops
    >>> state = ops.cuda_state()
    >>> (state.problem is None) == any(device.problem is None for device in state.devices)
    True
    """
    try:
        module = importlib.import_module("recsys_core._cuda")
    except ModuleNotFoundError:
        return CudaState(f"this installation was built without CUDA; {_BUILD}")
    except ImportError as fault:
        return CudaState(f"the module recsys_core._cuda cannot be loaded ({fault}); {_BUILD}")
    return _judged(module.status())


def chosen_device(device: str) -> int | None:
    """Return the number of the CUDA device that `device` names, or None for the CPU.

    Raises
    ------
    ConfigError
        `device` is not "cpu", "cuda" or "cuda:" and a number.
    DeviceError
        The device cannot be used; the message says why.
    """
    if device == "cpu":
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    if match is None:
        raise ConfigError(f'device must be "cpu", "cuda" or "cuda:<number>", got {device!r}')
    state = cuda_state()
    if state.problem is not None:
        raise DeviceError(f"device must be one that can be used, got {device!r}: {state.problem}")
    if match[1] is None:
        return next(found.index for found in state.devices if found.problem is None)
    index = int(match[1])
    if index >= len(state.devices):
        raise DeviceError(f"device must be one of the {len(state.devices)} CUDA device(s) found, got {device!r}")
    problem = state.devices[index].problem
    if problem is not None:
        raise DeviceError(f"device must be one that can be used, got {device!r}: {problem}")
    return index


def cuda_module() -> Any:
    """Return the compiled module; only after :func:`chosen_device` has said that it can be used."""
    return importlib.import_module("recsys_core._cuda")


def _judged(found: _cuda.CudaState) -> CudaState:
    """The state as the CUDA runtime reports it, with a reason for what cannot be used."""
    runtime = _version(found["runtime_version"])
    driver = _version(found["driver_version"])
    architectures = tuple(found["architectures"].split(","))
    devices = tuple(
        CudaDevice(
            index,
            info["name"],
            info["capability"],
            info["memory"],
            _architecture_problem(info["capability"], architectures),
        )
        for index, info in enumerate(found["devices"])
    )
    return CudaState(_problem(found, devices), runtime, driver, architectures, devices)


def _problem(found: _cuda.CudaState, devices: tuple[CudaDevice, ...]) -> str | None:
    runtime, driver = found["runtime_version"], found["driver_version"]
    if driver == 0:
        return "no NVIDIA driver was found; install one, or make it visible to this container"
    if driver // 1000 < runtime // 1000:
        return (
            f"the driver supports CUDA {_version(driver)} and this library was built with {_version(runtime)}; "
            f"install a newer driver, or the variant for CUDA {driver // 1000}"
        )
    if found["error"] not in ("", "cudaErrorNoDevice"):
        return f"CUDA cannot list its devices: {found['error']}"
    if not devices:
        return "no CUDA device was found; look at nvidia-smi and at CUDA_VISIBLE_DEVICES"
    if all(device.problem is not None for device in devices):
        return f"no device can be used: {devices[0].name}: {devices[0].problem}"
    return None


def _architecture_problem(capability: tuple[int, int], architectures: tuple[str, ...]) -> str | None:
    major, minor = capability
    for architecture in architectures:
        number, _, kind = architecture.partition("-")
        built = divmod(int(number), 10)
        # Machine code runs on its generation from its version on, and what PTX says on every later device.
        if kind != "virtual" and built[0] == major and built[1] <= minor:
            return None
        if kind != "real" and built <= (major, minor):
            return None
    return (
        f"its compute capability is {major}.{minor}, and this library was compiled for {', '.join(architectures)}; "
        "build it with -C cmake.define.CMAKE_CUDA_ARCHITECTURES=native"
    )


def _version(number: int) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
