"""The processes of a training: one, or those that torchrun started."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass

import torch
from torch import distributed

from recsys_core.errors import DeviceError

__all__ = ["Processes", "joined_processes", "n_processes", "pick_device"]


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and validates."""
        return self.rank == 0

    def agree_on(self, value: float, device: torch.device) -> float:
        """Return the first process's value in all of them."""
        if self.world_size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def mean_of(self, value: float, device: torch.device) -> float:
        """Return the mean over all processes of what each of them gives."""
        if self.world_size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total) / self.world_size


def n_processes() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if distributed.is_available() else 1


def joined_processes(device: torch.device) -> Processes:
    """Join the processes that torchrun started, if it did, for as long as this one runs."""
    if n_processes() == 1:
        return Processes()
    if not distributed.is_initialized():
        # Not left before the end: whoever joins a second time waits for ever, and a refit is a second training.
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the process's GPU if there is one, and else the CPU.

    Raises
    ------
    DeviceError
        There is no such device.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise DeviceError(f'device: expected "auto", "cpu" or a GPU of this machine, got {name!r}: {cause}') from cause
    return device
