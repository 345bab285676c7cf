"""The manifest of a bundle: what it is, what made it, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from recsys_core.errors import FormatError

__all__ = ["FORMAT_VERSION", "MANIFEST", "file_sha256", "read_manifest", "read_whole", "verify_files", "write_manifest"]

FORMAT_VERSION = 2
"""Raised when a reader of the old format could not read the new one.  A bundle carries the oldest version that has all
that it needs: 2 if its model reads features of users when it is asked, else 1."""
MANIFEST = "manifest.json"
_ATTEMPTS = 10

T = TypeVar("T")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(directory: Path, content: dict[str, Any], format_version: int) -> None:
    """Write ``manifest.json`` with the format version and the hash and size of every other file."""
    files = {
        path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in sorted(directory.iterdir())
    }
    manifest = {"format_version": format_version, **content, "files": files}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises
    ------
    FormatError
        There is no bundle, its manifest is not JSON, or its format version is not one that this version reads.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FormatError(f"{directory}: expected a bundle with {MANIFEST}, found none; make one with save_bundle.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as cause:
        raise FormatError(f"{path}: expected JSON with a format_version ({cause}); write the bundle again.") from cause
    if version not in range(1, FORMAT_VERSION + 1):
        raise FormatError(
            f"{path}: expected format_version 1 to {FORMAT_VERSION}, got {version!r}; "
            "read it with the recsys-core that wrote it, or write it again."
        )
    return manifest


def read_whole(directory: Path, read: Callable[[dict[str, Any]], T]) -> T:
    """Call ``read(manifest)``, and again if the bundle was replaced meanwhile, so that no two bundles are mixed.

    Raises
    ------
    FormatError
        The bundle cannot be read, or is being replaced faster than it can be read.
    """
    for _ in range(_ATTEMPTS):
        before, manifest = _identity(directory), read_manifest(directory)
        try:
            content = read(manifest)
        except FormatError:
            if _identity(directory) == before:
                raise
            continue
        if _identity(directory) == before:
            return content
    raise FormatError(f"{directory}: replaced {_ATTEMPTS} times while it was being read; try again.")


def _identity(directory: Path) -> tuple[int, int, int] | None:
    """Tells one publication from another, also of the same content: the manifest's inode and when it was made."""
    try:
        status = (directory / MANIFEST).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def verify_files(directory: Path, manifest: dict[str, Any]) -> None:
    """Check that every file the manifest lists is there and unchanged.

    Raises
    ------
    FormatError
        A file is missing, of another size, or of another hash.
    """
    try:
        listed = [(name, entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()]
    except (KeyError, TypeError, AttributeError) as cause:
        raise FormatError(
            f"{directory / MANIFEST}: expected the size and hash of every file; write the bundle again."
        ) from cause
    for name, expected_size, expected_hash in listed:
        path = directory / name
        if path.parent != directory:
            raise FormatError(f"{directory / MANIFEST}: expected names of files in the bundle, got {name!r}.")
        if not path.is_file():
            raise FormatError(f"{path}: listed in the manifest but missing; copy the whole bundle.")
        size = path.stat().st_size
        if size != expected_size:
            raise FormatError(f"{path}: expected {expected_size} bytes, got {size}; copy the bundle again.")
        if file_sha256(path) != expected_hash:
            raise FormatError(f"{path}: its SHA-256 is not the manifest's; the file was changed or damaged.")
