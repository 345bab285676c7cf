"""Publishing a directory so that a reader sees the old one or the new one, whole."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["published_directory"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def published_directory(target: Path) -> Iterator[Path]:
    """Fill a directory beside ``target`` and, when the block ends without an error, put it in ``target``'s place.

    Everything is flushed to the disk before the rename.  An existing ``target`` is replaced: in one step on Linux;
    elsewhere there is an instant in which neither stands.  After an error nothing has changed.
    """
    target = target.resolve()  # what a link points to is replaced, not the link
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _sibling(target)
    staging.mkdir()
    try:
        yield staging
        for path in [*staging.rglob("*"), staging]:
            _flush(path)
        if target.exists():
            _exchange(staging, target)
        else:
            staging.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no directories
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(staging: Path, target: Path) -> None:
    """Swap the two directories, so that ``staging`` becomes the old one."""
    if sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if rename and not rename(
            _AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_EXCHANGE)
        ):
            return
    # Old C libraries, other systems and some network file systems cannot exchange.
    aside = _sibling(target)
    target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        aside.rename(target)
        raise
    aside.rename(staging)


def _sibling(target: Path) -> Path:
    # Not tempfile.mkdtemp, whose folder would keep others from reading the published one.
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")
