"""Finding the files of a data set: a local folder, the cache, then one download after the other."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import platformdirs

from recsys_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

__all__ = ["Files", "Source", "Url", "Wheel", "Zip", "find_files"]

_logger = logging.getLogger("recsys_core.data")

# Seconds without an answer, a server's or the index's, after which the next source is tried.
TIMEOUT = 10
# Seconds that all of pip's work may take.
PIP_TIMEOUT = 300
NOTE = "SOURCE"
# Of the process, which pip inherits; sys.stderr may be an object without a descriptor.
_STDERR = 2


@dataclass(frozen=True)
class Files:
    """A folder with the files of a data set, and where they came from."""

    folder: Path
    source: str


class Source(Protocol):
    """A place on the network that has the files."""

    @property
    def name(self) -> str:
        """For people to read."""

    def fetch(self, folder: Path, *, progress: bool) -> None:
        """Put the files into an empty folder, or raise OSError, saying why that cannot be done."""


def find_files(
    dataset: str,
    is_complete: Callable[[Path], bool],
    sources: Sequence[Source],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Files:
    """Find or fetch the files of a data set.

    Parameters
    ----------
    dataset
        Its name, and that of its folder.
    is_complete
        Tells whether a folder has the files.
    sources
        Where to fetch them from, tried in this order.
    cache_dir
        Folder to keep them in; the user's cache folder for recsys_core if None.
    progress
        Whether to show how far a download is, on standard error if that is a terminal.

    Returns
    -------
    Files
        ``$RECSYS_DATA_DIR/<dataset>`` if it is complete, else the cached copy, else a new one.

    Raises
    ------
    DataError
        If no source works; the message says of each why not.
    """
    progress = progress and sys.stderr.isatty()
    tried = []
    local = os.environ.get("RECSYS_DATA_DIR")
    if local:
        folder = Path(local) / dataset
        if is_complete(folder):
            return Files(folder, str(folder))
        tried.append(f"RECSYS_DATA_DIR: {folder} lacks the files")
    else:
        tried.append(f"RECSYS_DATA_DIR: not set; it would name a folder with {dataset}/ in it")
    cache = Path(platformdirs.user_cache_dir("recsys_core") if cache_dir is None else cache_dir)
    kept = cache / dataset
    if is_complete(kept):
        return Files(kept, _noted_source(kept))
    for source in sources:
        try:
            _fetch(source, kept, is_complete, progress=progress)
        except OSError as error:
            tried.append(f"{source.name}: {error}")
            _logger.info("%s: cannot be had from %s: %s", dataset, source.name, error)
        else:
            _logger.info("%s: fetched from %s into %s", dataset, source.name, kept)
            return Files(kept, _noted_source(kept))
    reasons = "".join(f"\n  - {reason}" for reason in tried)
    raise DataError(
        f"{dataset}: expected one of these sources to work, none did:{reasons}\n"
        f"check the network, or put the files into a folder {dataset} and set RECSYS_DATA_DIR to its parent"
    )


def _fetch(source: Source, target: Path, is_complete: Callable[[Path], bool], *, progress: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        source.fetch(folder, progress=progress)
        if not is_complete(folder):
            raise OSError("it does not contain the expected files")
        (folder / NOTE).write_text(source.name, encoding="utf-8")
        if target.exists() and not is_complete(target):
            shutil.rmtree(target)
        try:
            folder.rename(target)  # a reader sees all files or none
        except OSError:
            if not is_complete(target):  # else another process was faster, and its copy is as good
                raise


def _noted_source(folder: Path) -> str:
    note = folder / NOTE
    return note.read_text(encoding="utf-8") if note.exists() else str(folder)


@dataclass(frozen=True)
class Url:
    """Single files, each with its SHA-256, below one address."""

    base: str
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """The address."""
        return self.base

    def fetch(self, folder: Path, *, progress: bool) -> None:
        """Download and check the files."""
        for name, expected in self.sha256.items():
            download(f"{self.base}/{name}", folder / name, "sha256", expected, progress=progress)


@dataclass(frozen=True)
class Zip:
    """A zip archive; only the named members are taken out of it, into one folder."""

    address: str
    members: Sequence[str]
    md5: str | None = None

    @property
    def name(self) -> str:
        """The address."""
        return self.address

    def fetch(self, folder: Path, *, progress: bool) -> None:
        """Download the archive, check it and unpack the members."""
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.zip"
            download(self.address, archive, "md5", self.md5, progress=progress)
            unpack(archive, self.members, folder)


@dataclass(frozen=True)
class Wheel:
    """A wheel from the package index that pip is set up for; it is unpacked, never installed or run."""

    requirement: str
    members: Sequence[str]
    sha256: str

    @property
    def name(self) -> str:
        """The requirement, and what it is."""
        return f"the wheel {self.requirement} from the package index"

    def fetch(self, folder: Path, *, progress: bool) -> None:
        """Have pip download the wheel, check it and unpack the members."""
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", scratch]
            command += ["--disable-pip-version-check", "--timeout", str(TIMEOUT), "--retries", "1", self.requirement]
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=_STDERR if progress else subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=PIP_TIMEOUT,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise OSError(f"pip took longer than {PIP_TIMEOUT} seconds") from None
            if "No module named pip" in done.stderr:
                raise OSError(f"pip is not installed for {sys.executable}; install it with python -m ensurepip")
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                raise OSError("pip failed: " + (errors[-1] if errors else done.stderr.strip()[-300:]))
            wheel = next(Path(scratch).glob("*.whl"))
            check_digest(wheel, "sha256", self.sha256)
            unpack(wheel, self.members, folder)


def download(address: str, target: Path, algorithm: str, expected: str | None, *, progress: bool) -> None:
    """Download a file, and compare its digest if one is expected."""
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response, target.open("wb") as file:
        length = response.headers.get("Content-Length")
        _copy(response, file, int(length) if length else None, target.name if progress else None)
    if expected is not None:
        check_digest(target, algorithm, expected)


def _copy(response: BinaryIO, file: BinaryIO, length: int | None, label: str | None) -> None:
    if label is None:
        shutil.copyfileobj(response, file)
        return
    from rich.console import Console
    from rich.progress import wrap_file

    with wrap_file(response, length or 0, description=label, console=Console(stderr=True)) as reader:
        shutil.copyfileobj(reader, file)


def check_digest(path: Path, algorithm: str, expected: str) -> None:
    """Raise OSError if a file is not the one that was published."""
    with path.open("rb") as file:
        got = hashlib.file_digest(file, algorithm).hexdigest()
    if got != expected:
        raise OSError(f"{algorithm} of {path.name}: expected {expected}, got {got}; the file was damaged or replaced")


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Take members out of a zip archive, leaving their folders behind."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in members:
                (folder / Path(member).name).write_bytes(opened.read(member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise OSError(f"{archive.name}: {error}") from error
