"""The processes of a training: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from recsys_core.errors import DeviceError

__all__ = ["Processes", "joined_processes", "pick_device"]


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


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did, and leave the group as it was found."""
    if not distributed.is_available() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    joined_here = not distributed.is_initialized()
    if joined_here:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        if joined_here:
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
