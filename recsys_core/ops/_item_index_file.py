"""The file of an item index: the packed arrays as the kernels read them, so that a process can map it and answer.

The file is a safetensors file, which other programs can read, with two promises more: its arrays lie where the kernels
need them, and its bytes depend on the items alone.  ``__metadata__`` holds ``format``, ``format_version``, ``metric``,
``n_items`` and ``sha256``, the hash of the whole file with 64 zeros in its own place.  d is n_factors; items come in
pages of 4 tiles of 32, padded with zeros, and in blocks of 64; g is d / 4 and p is g / 2, each rounded up.

=========================  ================================  =======================================================
array                      type and shape                    content
=========================  ================================  =======================================================
``factors``                float32 [n_pages, 4, d, 32]       of length 1 for cosine
``bias``                   float32 [n_pages, 128]            where the index has one
``compact.codes``          uint8 [n_blocks, g, 64, 4]        this and the rest of ``compact``: see
``compact.coarse_codes``   uint8 [n_blocks, p, 64, 4]        ``csrc/cpu/compact_items.hpp``
``compact.bias``           float32 [n_blocks, 64]
``compact.rows``           float32 [n_items, 4 g]
``compact.bounds``         float64 [n_blocks, 5]             scale, 1 / scale, code norm, error, slack of the bias
``compact.coarse_bounds``  float64 [n_blocks, 5]             the same
``compact.norm_from``      float64 [n_blocks + 1]
``compact.bias_from``      float64 [n_blocks + 1]
``compact.limits``         float64 [2]                       largest bias, smallest scale
``compact.items``          int32 [n_blocks * 64]
``compact.positions``      int32 [n_items]
``present``                uint32 [n_tiles]                  bit i of word t: item 32 t + i is there; where some are not
=========================  ================================  =======================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_core import _core
from recsys_core.errors import DataError, FormatError

__all__ = ["FORMAT_VERSION", "packed", "read_index", "unpacked", "write_index"]

FORMAT_VERSION = 1
"""Raised when a reader of the old format could not read the new one."""
FORMAT = "recsys_core item index"

_DTYPES = {"F32": np.float32, "F64": np.float64, "U8": np.uint8, "I32": np.int32, "U32": np.uint32}
_CACHE_LINE = 64
# Type, shape for so many factors, and where an array starts, in the order of the file: the first ones are multiples of
# a cache line long, and the others get shorter, so that each starts where it may without a gap.
_ARRAYS: dict[str, tuple[str, tuple[str | int, ...], int]] = {
    "factors": ("F32", ("n", 4, "d", 32), _CACHE_LINE),
    "bias": ("F32", ("n", 128), _CACHE_LINE),
    "compact.codes": ("U8", ("n", "g", 64, 4), _CACHE_LINE),
    "compact.coarse_codes": ("U8", ("n", "p", 64, 4), _CACHE_LINE),
    "compact.bias": ("F32", ("n", 64), _CACHE_LINE),
    "compact.rows": ("F32", ("n", "4g"), 16),
    "compact.bounds": ("F64", ("n", 5), 8),
    "compact.coarse_bounds": ("F64", ("n", 5), 8),
    "compact.norm_from": ("F64", ("n",), 8),
    "compact.bias_from": ("F64", ("n",), 8),
    "compact.limits": ("F64", ("n",), 8),
    "compact.items": ("I32", ("n",), 4),
    "compact.positions": ("I32", ("n",), 4),
    "present": ("U32", ("n",), 4),
}
_LARGEST_HEADER = 1 << 16
_MAX_INT32 = 2**31 - 1
_NO_HASH = "0" * 64
_PIECE = 1 << 24


def write_index(index: _core.ItemIndex, path: str | os.PathLike[str], *, compact: bool) -> None:
    """Write the file beside its place and move it there, so that whoever has mapped an older one keeps that."""
    parts = index.arrays(compact)
    entries: dict[str, dict[str, Any]] = {}
    end = 0
    for name, (dtype, shape, _) in _ARRAYS.items():
        if name not in parts:
            continue
        n_numbers = sum(part.size for part in parts[name])
        begin, end = end, end + n_numbers * np.dtype(_DTYPES[dtype]).itemsize
        # What the first dimension is follows from the others, but for an array of nothing.
        others = [_length(size, index.n_factors) for size in shape[1:]]
        first = n_numbers // math.prod(others) if math.prod(others) else _rows_of(name, index.n_items)
        entries[name] = {"dtype": dtype, "shape": [first, *others], "data_offsets": [begin, end]}

    def header(sha256: str) -> bytes:
        about = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "metric": index.metric,
            "n_items": str(index.n_items),
            "sha256": sha256,
        }
        text = json.dumps({"__metadata__": about, **entries}, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % _CACHE_LINE)
        return len(text).to_bytes(8, "little") + text

    target = Path(path).resolve()  # what a link points to is replaced, not the link
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with staging.open("xb") as stream:
            stream.write(header(_NO_HASH))
            digest = hashlib.sha256(header(_NO_HASH))
            for name in entries:
                for part in parts[name]:
                    stream.write(part.data)
                    digest.update(part.data)
            stream.seek(0)
            stream.write(header(digest.hexdigest()))
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


def read_index(path: str | os.PathLike[str], *, map_file: bool, verify: bool) -> _core.ItemIndex:
    """Look at the file where it is mapped, or at a copy of it in memory.

    Whatever is in the file, nothing outside of it is read: sizes are compared with each other here and in the core,
    which checks every index too.
    """
    name = os.fspath(path)
    try:
        memory = _memory(path, map_file=map_file)
    except (OSError, ValueError) as cause:
        raise FormatError(f"{name}: cannot be read ({cause}); give the path of a file that save wrote.") from cause
    start = 8 + int.from_bytes(memory[:8], "little")
    if len(memory) < 8 or start > min(len(memory), _LARGEST_HEADER):
        raise FormatError(
            f"{name}: expected a file that ItemIndex.save wrote, got another one or a damaged one; write it again."
        )
    try:
        entries = json.loads(memory[8:start])
        about = entries.pop("__metadata__")
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r}")
        version = about["format_version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise FormatError(
            f"{name}: expected a file that ItemIndex.save wrote, got another one or a damaged one "
            f"({type(cause).__name__}: {cause}); write it again."
        ) from cause
    if version != str(FORMAT_VERSION):
        raise FormatError(
            f"{name}: expected format_version {FORMAT_VERSION}, got {version}; "
            "read it with the recsys-core that wrote it, or write it again."
        )
    try:
        if verify and _sha256(memory, start, about["sha256"]) != about["sha256"]:
            raise ValueError("its SHA-256 is not the one it was written with")
        arrays = {key: _array(memory, start, key, entries[key]) for key in _ARRAYS if key in entries}
        if max((entries[key]["data_offsets"][1] for key in arrays), default=0) != len(memory) - start:
            raise ValueError("its length is not that of its arrays")
        n_items, n_factors = int(about["n_items"]), entries["factors"]["shape"][2]
        if not (0 <= n_items <= _MAX_INT32 and 0 <= n_factors <= _MAX_INT32):
            raise ValueError(f"n_items {n_items}, n_factors {n_factors}")
        for key in arrays:
            others = [_length(size, n_factors) for size in _ARRAYS[key][1][1:]]
            if entries[key]["shape"][1:] != others:
                raise ValueError(f"the shape of {key}")
        return _core.ItemIndex.from_arrays(n_items, n_factors, about["metric"], arrays)
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as cause:
        raise FormatError(f"{name}: damaged ({type(cause).__name__}: {cause}); write it again.") from cause


def packed(index: _core.ItemIndex) -> tuple[int, int, str, dict[str, npt.NDArray[Any]]]:
    """What :func:`unpacked` makes an equal index of: sizes, metric, and the arrays without the compact copy."""
    arrays = {
        name: np.concatenate([np.zeros(0, _DTYPES[_ARRAYS[name][0]]), *(part.ravel() for part in parts)])
        for name, parts in index.arrays(False).items()
    }
    return index.n_items, index.n_factors, index.metric, arrays


def unpacked(n_items: int, n_factors: int, metric: str, arrays: dict[str, npt.NDArray[Any]]) -> _core.ItemIndex:
    """Inverse of :func:`packed`."""
    return _core.ItemIndex.from_arrays(
        n_items, n_factors, metric, {name: _aligned(array) for name, array in arrays.items()}
    )


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copy = np.frombuffer(_own_memory(max(array.nbytes, 1)), array.dtype, array.size)
    copy[:] = array
    return copy


def _length(size: str | int, n_factors: int) -> int:
    groups = -(-n_factors // 4)
    return (
        size if isinstance(size, int) else {"d": n_factors, "g": groups, "4g": 4 * groups, "p": -(-groups // 2)}[size]
    )


def _rows_of(name: str, n_items: int) -> int:
    items_a_row = {"factors": 128, "compact.codes": 64, "compact.coarse_codes": 64, "compact.rows": 1}[name]
    return -(-n_items // items_a_row)


def _memory(path: str | os.PathLike[str], *, map_file: bool) -> mmap.mmap:
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if map_file:
            return mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
        memory = _own_memory(size)
        if stream.readinto(memory) != size:
            raise ValueError("it was changed meanwhile")
        return memory


def _own_memory(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size)  # starts on a page, where NumPy's memory starts anywhere
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _array(memory: mmap.mmap, start: int, name: str, entry: dict[str, Any]) -> npt.NDArray[Any]:
    dtype, _, alignment = _ARRAYS[name]
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ValueError(f"the description of {name}")
    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    if entry["dtype"] != dtype or end - begin != math.prod(shape) * itemsize or end > len(memory) - start:
        raise ValueError(f"the type or the size of {name}")
    if (start + begin) % alignment:
        raise ValueError(f"the place of {name}")
    return np.ndarray(((end - begin) // itemsize,), _DTYPES[dtype], memory, start + begin)


def _sha256(memory: mmap.mmap, start: int, recorded: str) -> str:
    digest = hashlib.sha256(memory[:start].replace(recorded.encode(), _NO_HASH.encode(), 1))
    with memoryview(memory) as content:
        for begin in range(start, len(memory), _PIECE):
            digest.update(content[begin : begin + _PIECE])
    return digest.hexdigest()
