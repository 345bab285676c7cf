"""The state of a training on disk, written so that a kill at any moment leaves a whole file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Final

import torch

from recsys_core.errors import ConfigError, FormatError

__all__ = ["read_checkpoint", "write_checkpoint"]

_FORMAT_VERSION: Final = 1


def write_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write beside `path`, flush, and rename into it.

    Parameters
    ----------
    path
        The file.
    fingerprint
        What the training was about; :func:`read_checkpoint` compares it.
    state
        Tensors, numbers, strings, and dicts and lists of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    with draft.open("wb") as file:
        torch.save({"format": _FORMAT_VERSION, "fingerprint": fingerprint, "state": state}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read the state, or return None if there is no file.

    Raises
    ------
    FormatError
        The file is not a checkpoint of this version.
    ConfigError
        It belongs to other settings or other data.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content["format"]
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as cause:
        raise FormatError(f"checkpoint: {path} is not a checkpoint of recsys_neural; give another path") from cause
    if version != _FORMAT_VERSION:
        raise FormatError(f"checkpoint: expected format {_FORMAT_VERSION} in {path}, got {version}; delete the file")
    if content["fingerprint"] != fingerprint:
        raise ConfigError(
            f"checkpoint: {path} belongs to a training with other settings or other data; "
            "give another path, or delete the file to start anew"
        )
    state: dict[str, Any] = content["state"]
    return state
