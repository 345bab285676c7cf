"""An index that is saved and mapped gives the same bits, and a file that is not one is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from recsys_core import ops
from recsys_core.errors import FormatError

GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "item_index.safetensors"
D = 10


def make(n_items: int, metric: str = "dot", *, bias: bool = False, removed: bool = False, d: int = D) -> ops.ItemIndex:
    rng = np.random.default_rng(n_items)
    index = ops.ItemIndex(rng.standard_normal((n_items, d)), rng.standard_normal(n_items) if bias else None, metric)
    if removed and n_items:
        index.remove(rng.choice(n_items, 1 + n_items // 3, replace=False))
    return index


def assert_same_bits(got: ops.ItemIndex, want: ops.ItemIndex) -> None:
    assert (got.n_items, got.n_removed, got.n_factors, got.metric) == (
        want.n_items,
        want.n_removed,
        want.n_factors,
        want.metric,
    )
    queries = np.random.default_rng(1).standard_normal((9, want.n_factors))
    for method in ("float32", "compact", "auto"):
        left, right = (
            index.topk(queries, 7, deny=[0] if index.n_items else None, method=method) for index in (got, want)
        )
        np.testing.assert_array_equal(left.indices, right.indices)
        np.testing.assert_array_equal(left.scores.view(np.uint32), right.scores.view(np.uint32))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))])
@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("n_items", [0, 1, 130, 4_000])
def test_what_is_pickled_or_copied_is_an_equal_index_of_its_own(again, n_items: int, metric: str) -> None:
    index = make(n_items, metric, bias=True, removed=True)
    other = again(index)
    assert_same_bits(other, index)
    other.append(np.full((1, D), 1e3), [0.0])
    assert (index.n_items, other.n_items) == (n_items, n_items + 1)
    assert_same_bits(again(index), index)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("n_items", [0, 1, 130, 4_000])
def test_what_is_loaded_is_what_was_saved(
    tmp_path, n_items: int, removed: bool, bias: bool, metric: str, compact: bool, mapped: bool
) -> None:
    index = make(n_items, metric, bias=bias, removed=removed)
    index.save(tmp_path / "index", compact=compact)
    assert_same_bits(ops.ItemIndex.load(tmp_path / "index", mmap=mapped), index)


@pytest.mark.parametrize("isa", ops.available_isas())
def test_a_file_serves_every_instruction_set(tmp_path, isa: str) -> None:
    make(20_000, bias=True).save(tmp_path / "index")  # with coarse codes
    code = f"""
import numpy as np
from recsys_core import ops
index = ops.ItemIndex.load({str(tmp_path / "index")!r})
queries = np.random.default_rng(0).standard_normal((2, {D}))
plain, compact = (index.topk(queries, 50, method=method) for method in ("float32", "compact"))
assert (plain.indices == compact.indices).all() and (plain.scores == compact.scores).all()
print(ops.isa(), *plain.indices[0][:5])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env={"RECSYS_ISA": isa}, capture_output=True, text=True, check=True
    )
    queries = np.random.default_rng(0).standard_normal((2, D))
    best = make(20_000, bias=True).topk(queries, 5).indices[0]
    assert run.stdout.split() == [isa, *map(str, best)]


@pytest.mark.parametrize("n_factors", [0, 1, 4_097])
def test_few_and_many_factors(tmp_path, n_factors: int) -> None:
    index = make(40, d=n_factors)
    index.save(tmp_path / "index")
    assert_same_bits(ops.ItemIndex.load(tmp_path / "index"), index)


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_a_mapped_index_changes_and_the_file_does_not(tmp_path, metric: str) -> None:
    rng = np.random.default_rng(0)
    want = make(3_000, metric, bias=True, removed=True)
    path = tmp_path / "index"
    want.save(path)
    before = path.read_bytes()
    got = ops.ItemIndex.load(path)
    rows, factors, bias = rng.permutation(3_000)[:50], rng.standard_normal((50, D)), rng.standard_normal(50)
    for index in (want, got):
        index.update(rows, factors, bias)
        index.append(factors, bias)
        index.remove(rows[:9])
    assert_same_bits(got, want)
    assert_same_bits(got.without_removed()[0], want.without_removed()[0])
    assert path.read_bytes() == before

    got.save(path)  # over the file that it is mapped from
    assert_same_bits(ops.ItemIndex.load(path), want)
    assert_same_bits(got, want)
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_an_index_outlives_what_it_was_loaded_from(tmp_path) -> None:
    make(300).save(tmp_path / "index")
    got = ops.ItemIndex.load(tmp_path / "index")
    (tmp_path / "index").unlink()
    assert_same_bits(got, make(300))


def test_bytes_depend_on_the_items_alone(tmp_path) -> None:
    rng = np.random.default_rng(5)
    items = rng.standard_normal((1_500, D))
    once = ops.ItemIndex(items)
    changed = ops.ItemIndex(items[:700])
    changed.topk(items[:1], 1, method="compact")
    changed.update([3], items[:1])
    changed.append(items[700:])
    changed.remove([3, 8])
    changed.update([3, 8], items[[3, 8]])
    for compact in (True, False):
        once.save(tmp_path / "once", compact=compact)
        changed.save(tmp_path / "changed", compact=compact)
        assert (tmp_path / "once").read_bytes() == (tmp_path / "changed").read_bytes()


def test_the_file_is_safetensors_with_aligned_arrays(tmp_path) -> None:
    index = make(1_000, bias=True, removed=True)
    index.save(tmp_path / "index")
    arrays = load_file(tmp_path / "index")
    rows = np.random.default_rng(1_000).standard_normal((1_000, D)).astype(np.float32)
    packed = arrays["factors"].transpose(0, 1, 3, 2).reshape(-1, D)
    np.testing.assert_array_equal(packed[:1_000], rows)
    assert not packed[1_000:].any()
    assert arrays["compact.codes"].shape == (16, 3, 64, 4)
    assert int(np.bitwise_count(arrays["present"]).sum()) == index.n_items - index.n_removed


def test_the_golden_file_is_read_and_written(tmp_path) -> None:
    """Made by ``make_golden.py``: the items are whole numbers, so that every processor packs the same bits."""
    items = (np.arange(200 * 5) * 7919 % 23 - 11).reshape(200, 5)
    index = ops.ItemIndex(items, np.arange(200) % 9)
    index.remove([7, 100])
    assert_same_bits(ops.ItemIndex.load(GOLDEN), index)
    index.save(tmp_path / "index")
    written, golden = load_file(tmp_path / "index"), load_file(GOLDEN)
    assert list(written) == list(golden)
    for name, array in golden.items():
        if array.dtype != np.float64:  # bounds, which may round otherwise where products are fused
            np.testing.assert_array_equal(written[name], array)


def test_processes_share_a_file(tmp_path) -> None:
    make(5_000).save(tmp_path / "index")
    code = f"""
import numpy as np
from recsys_core import ops
index = ops.ItemIndex.load({str(tmp_path / "index")!r})
input()
index.update([0], np.full((1, {D}), 9.0))
print(index.topk(np.ones((1, {D})), 1).indices[0, 0])
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate("\n")[0].strip() for process in processes] == ["0", "0"]
    assert_same_bits(ops.ItemIndex.load(tmp_path / "index"), make(5_000))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "index"
    make(20_000, bias=True, removed=True, d=3).save(path)
    return path.read_bytes()


def assert_refused(path: Path, content: bytes, match: str, **options: Any) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match=match) as caught:
        ops.ItemIndex.load(path, **options)
    assert str(path) in str(caught.value)


def test_files_cut_short_are_refused(saved: bytes, tmp_path) -> None:
    for size in (0, 1, 7, 8, 9, 100, 1_000, 3_000, len(saved) // 2, len(saved) - 1):
        for verify in (True, False):
            assert_refused(tmp_path / "index", saved[:size], "cannot be read|damaged", verify=verify)
    for verify in (True, False):
        assert_refused(tmp_path / "index", saved + b"\0", "damaged", verify=verify)


def test_every_flipped_byte_is_found(saved: bytes, tmp_path) -> None:
    rng = np.random.default_rng(0)
    start = 8 + int.from_bytes(saved[:8], "little")
    for position in (*range(0, start, 7), *rng.integers(start, len(saved), 100)):
        flipped = bytearray(saved)
        flipped[position] ^= 1 << int(rng.integers(8))
        assert_refused(tmp_path / "index", bytes(flipped), "damaged|format_version")


def test_without_a_hash_no_damage_reaches_beyond_the_file(saved: bytes, tmp_path) -> None:
    """Answers may be wrong then, but the process lives."""
    rng = np.random.default_rng(1)
    path = tmp_path / "index"
    n_loaded = 0
    for _ in range(150):
        flipped = bytearray(saved)
        part = slice(0, 1_600) if rng.random() < 0.3 else slice(0, len(saved))
        for position in rng.integers(part.start, part.stop, 4):
            flipped[position] = int(rng.integers(256))
        path.write_bytes(flipped)
        try:
            index = ops.ItemIndex.load(path, verify=False)
        except FormatError:
            continue
        n_loaded += 1
        for method in ("float32", "compact"):
            ranking = index.topk(rng.standard_normal((2, index.n_factors)), 5, method=method)
            assert ((ranking.indices >= -1) & (ranking.indices < index.n_items)).all()
    assert n_loaded > 10


def edited(saved: bytes, edit: Any) -> bytes:
    """With another header, and a hash that fits."""
    start = 8 + int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8:start])
    edit(header)
    header["__metadata__"]["sha256"] = "0" * 64

    def pack() -> bytes:
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % 64)
        return len(text).to_bytes(8, "little") + text

    header["__metadata__"]["sha256"] = hashlib.sha256(pack() + saved[start:]).hexdigest()
    return pack() + saved[start:]


def with_numbers(saved: bytes, name: str, dtype: Any, change: Any) -> bytes:
    start = 8 + int.from_bytes(saved[:8], "little")
    begin, end = json.loads(saved[8:start])[name]["data_offsets"]
    numbers = np.frombuffer(saved[start + begin : start + end], dtype).copy()
    change(numbers)
    return edited(saved[: start + begin] + numbers.tobytes() + saved[start + end :], lambda header: None)


def test_headers_that_lie_are_refused(saved: bytes, tmp_path) -> None:
    path = tmp_path / "index"
    path.write_bytes(edited(saved, lambda header: None))
    ops.ItemIndex.load(path)  # the edit as such is no damage

    def about(**changes: Any) -> Any:
        return lambda header: header["__metadata__"].update(changes)

    def entry(name: str, **changes: Any) -> Any:
        return lambda header: header[name].update(changes)

    for edit, match in (
        (about(format_version="2"), "expected format_version 1, got 2"),
        (about(format="pt"), "expected a file that ItemIndex.save wrote"),
        (about(metric="l2"), 'damaged .*metric must be "dot" or "cosine"'),
        (about(n_items="19999"), "damaged"),
        (about(n_items="-1"), "damaged"),
        (about(n_items=str(2**70)), "damaged"),
        (entry("factors", shape=[157, 4, 3, 16]), "size of factors"),
        (entry("factors", shape=[314, 2, 3, 32]), "shape of factors"),
        (entry("factors", shape=[157, 4, 2**62, 32]), "size of factors"),
        (entry("factors", data_offsets=[-64, 0]), "description of factors"),
        (entry("factors", data_offsets=[0, 10**30]), "factors"),
        (entry("compact.items", dtype="U32"), "type or the size of compact.items"),
        (lambda header: header.pop("compact.rows"), "compact.rows must have"),
        (lambda header: header.pop("factors"), "damaged"),
        (lambda header: header.pop("bias"), "damaged"),
    ):
        assert_refused(path, edited(saved, edit), match)


def test_indices_that_lead_out_of_the_arrays_are_refused(saved: bytes, tmp_path) -> None:
    def at(position: int, value: float) -> Any:
        def change(numbers: np.ndarray) -> None:
            numbers[position] = value

        return change

    for name, dtype, change, match in (
        ("compact.items", np.int32, at(5, 20_000), "inverse"),
        ("compact.items", np.int32, at(5, -1), "inverse"),
        ("compact.items", np.int32, at(-1, 0), "inverse"),
        ("compact.positions", np.int32, at(5, 2**31 - 1), "inverse"),
        ("compact.positions", np.int32, at(5, -7), "inverse"),
        ("compact.bounds", np.float64, at(5, np.nan), "compact.bounds must hold finite"),
    ):
        assert_refused(tmp_path / "index", with_numbers(saved, name, dtype, change), match)
    make(40, removed=True).save(tmp_path / "index")
    behind = with_numbers((tmp_path / "index").read_bytes(), "present", np.uint32, at(1, 2**32 - 1))
    assert_refused(tmp_path / "index", behind, "behind the last item")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 9, b"[" * 70_000, (2**63).to_bytes(8, "little") * 2])
def test_other_files_are_refused(content: bytes, tmp_path) -> None:
    assert_refused(tmp_path / "index", content, "index: ")


def test_deeply_nested_headers_and_missing_files_are_refused(tmp_path) -> None:
    for text in (b"[" * 60_000, b"{}", b"[]", b'{"__metadata__":{"format":3}}', b"\xff\xfe"):
        assert_refused(
            tmp_path / "index", len(text).to_bytes(8, "little") + text, "expected a file that ItemIndex.save"
        )
    with pytest.raises(FormatError, match="nowhere: cannot be read"):
        ops.ItemIndex.load(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="cannot be read"):
        ops.ItemIndex.load(tmp_path)
