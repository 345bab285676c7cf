"""Bundles: what is written is what is read, nothing is half there, and damage is named."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from form_examples import make_form

from recsys_core import runtime
from recsys_core.bundle import FORMAT_VERSION, load_bundle, save_bundle
from recsys_core.bundle.publish import published_directory
from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, FormatError
from recsys_core.models import FittedModel, Provenance, StaticForm
from recsys_core.ops import ItemIndex

FILES = {"item_ids.json", "manifest.json", "model.onnx", "state.safetensors", "user_ids.json"}


def test_what_is_read_is_what_was_written(fitted: FittedModel, tmp_path) -> None:
    features = pl.DataFrame({"item_id": fitted.items.ids, "title": [f"film {i}" for i in range(200)]})
    provenance = Provenance("demo", "demo-dist", "1.2", {"n_factors": 16, "window": None})
    saved = dataclasses.replace(fitted, item_features=features, provenance=provenance)
    path = save_bundle(saved, tmp_path / "demo.bundle", metrics={"ndcg@10": 0.25})
    reads_users = fitted.form.user_preparation is not None
    assert {file.name for file in path.iterdir()} == FILES | {"items.parquet"} | (
        {"user_features.json"} if reads_users else set()
    )

    bundle = load_bundle(path)
    read = bundle.fitted
    assert bundle.manifest["format_version"] == (FORMAT_VERSION if reads_users else 1)
    assert bundle.manifest["metrics"] == {"ndcg@10": 0.25}
    assert bundle.manifest["parity"]["max_error"] <= 1e-4
    assert read.provenance == provenance
    assert read.item_features.equals(features)
    assert read.users.digest == fitted.users.digest
    assert read.items.ids.equals(fitted.items.ids)
    for name in ("indptr", "indices", "weights"):
        assert np.array_equal(getattr(read.histories, name), getattr(fitted.histories, name))
    (arrays, meta), (read_arrays, read_meta) = fitted.form.state(), read.form.state()
    assert meta == read_meta
    assert arrays.keys() == read_arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == read_arrays[name].dtype
        assert np.array_equal(array, read_arrays[name])


def test_an_existing_path_is_refused_and_kept(fitted: FittedModel, tmp_path) -> None:
    path = save_bundle(fitted, tmp_path / "demo")
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(FormatError, match="exists already"):
        save_bundle(fitted, path)
    assert (path / "manifest.json").read_bytes() == before
    save_bundle(fitted, path, metrics={"a": 1.0}, overwrite=True)
    assert load_bundle(path).manifest["metrics"] == {"a": 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]


def test_overwrite_spares_a_directory_that_is_no_bundle(fitted: FittedModel, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(FormatError, match="expected a bundle to overwrite, got a folder that is none; choose another"):
        save_bundle(fitted, tmp_path, overwrite=True)
    with pytest.raises(FormatError, match="got a file that is none"):
        save_bundle(fitted, tmp_path / "thesis.txt", overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


@pytest.mark.parametrize("damaged", [b'{"dtype": "string", "ids": ["a', b'{"dtype": "string", "ids": ["\xdd"]}'])
def test_unverified_ids_that_are_damaged_are_named(fitted: FittedModel, tmp_path, damaged: bytes) -> None:
    path = save_bundle(fitted, tmp_path / "demo")
    (path / "user_ids.json").write_bytes(damaged)
    with pytest.raises(FormatError, match=r"user_ids\.json: cannot be read"):
        load_bundle(path, verify=False)


def test_a_failed_save_leaves_the_old_bundle_and_nothing_else(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = save_bundle(fitted, tmp_path / "demo", metrics={"version": 1.0})

    def fail(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr("recsys_core.bundle.bundle.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(fitted, path, overwrite=True)
    assert load_bundle(path).manifest["metrics"] == {"version": 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]


def test_a_reader_never_sees_a_mixture(histories, tmp_path) -> None:
    def model(size: int) -> FittedModel:
        form = StaticForm(np.arange(size, dtype=np.float32))
        ids = IdMap([f"v{size}-{i}" for i in range(size)])
        return FittedModel(form, IdMap(["u"]), ids, Histories.from_lists([[0]]))

    path = save_bundle(model(3), tmp_path / "shelf")
    versions = [save_bundle(model(size), tmp_path / f"v{size}") for size in (3, 4)]
    stop = threading.Event()
    faults: list[str] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                loaded = runtime.load(path)
            except FormatError as fault:
                if "while it was being read" not in str(fault):
                    faults.append(str(fault))
                continue
            reads += 1
            (best,) = loaded.recommend("u", k=1)["item_id"].to_list()
            if best != f"v{len(loaded.items)}-{len(loaded.items) - 1}" or len(loaded.form.scores) != len(loaded.items):
                faults.append(f"{best} of {len(loaded.items)} items")

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        with published_directory(path) as directory:
            shutil.copytree(versions[turn % 2], directory, dirs_exist_ok=True)
    stop.set()
    reader.join()
    assert not faults
    assert reads


def test_what_a_link_points_to_is_replaced(fitted: FittedModel, tmp_path) -> None:
    save_bundle(fitted, tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    save_bundle(fitted, tmp_path / "current", metrics={"a": 2.0}, overwrite=True)
    assert (tmp_path / "current").is_symlink()
    assert load_bundle(tmp_path / "v1").manifest["metrics"] == {"a": 2.0}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "v1"]


def test_whoever_may_read_one_file_may_read_all(fitted: FittedModel, tmp_path) -> None:
    path = save_bundle(fitted, tmp_path / "demo")
    assert len({file.stat().st_mode for file in path.iterdir()}) == 1


def test_without_an_exchange_a_failed_rename_is_rolled_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.platform", "plan9")
    target = tmp_path / "shelf"
    with published_directory(target) as directory:
        (directory / "a").write_text("old")
    with published_directory(target) as directory:
        (directory / "a").write_text("new")
    assert (target / "a").read_text() == "new"
    rename = Path.rename

    def fail(self: Path, to: Path) -> Path:
        if to == target and (self / "b").exists():
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"), published_directory(target) as directory:
        (directory / "b").write_text("newest")
    assert (target / "a").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["shelf"]


def test_metrics_of_numpy_and_undefined_ones_are_recorded(fitted: FittedModel, tmp_path) -> None:
    path = save_bundle(fitted, tmp_path / "demo", metrics={"ndcg@10": np.float32(0.5), "diversity@1": float("nan")})
    assert load_bundle(path).manifest["metrics"] == {"ndcg@10": 0.5, "diversity@1": None}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "manifest.json").unlink(), "expected a bundle with manifest.json"),
        (lambda path: (path / "manifest.json").write_text("{"), "expected JSON"),
        (lambda path: (path / "model.onnx").unlink(), "missing"),
        (lambda path: (path / "item_ids.json").write_text("[]"), "expected .* bytes"),
        (lambda path: flip_a_byte(path / "state.safetensors"), "SHA-256"),
        (lambda path: set_manifest(path, format_version=99), "expected format_version 1 to 2, got 99"),
        (lambda path: (path / "manifest.json").write_text('{"format_version": 1}'), "expected the size and hash"),
        (lambda path: set_manifest(path, files={}), "expected item_ids.json, model.onnx"),
        (lambda path: set_manifest(path, files={"../x": {"bytes": 1, "sha256": ""}}), "expected names of files"),
        (lambda path: set_manifest(path, form={"kind": "hologram"}), "newer recsys-core"),
        (lambda path: set_manifest(path, form={"kind": "static"}), r"missing|cannot be read"),
    ],
)
def test_damage_is_one_clear_error(histories, tmp_path, damage, message) -> None:
    fitted = FittedModel(make_form("sparse"), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    path = save_bundle(fitted, tmp_path / "demo")
    damage(path)
    with pytest.raises(FormatError, match=message):
        load_bundle(path)


def flip_a_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


def set_manifest(path, **changes) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_no_pickle_anywhere(fitted: FittedModel, tmp_path) -> None:
    path = save_bundle(fitted, tmp_path / "demo")
    for file in path.iterdir():
        head = file.read_bytes()[:2]
        assert head not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"), file.name


@pytest.mark.parametrize("fitted", ["explicit_fold_in", "static", "two_stage_fold_in"], indirect=True)
def test_a_bundle_with_an_index_answers_the_same(fitted: FittedModel, tmp_path) -> None:
    plain = runtime.load(save_bundle(fitted, tmp_path / "plain"), backend="core")
    path = save_bundle(fitted, tmp_path / "indexed", with_index=True)
    assert {file.name for file in path.iterdir()} == FILES | {"index.safetensors"}
    indexed = runtime.load(path, backend="core")
    asked = fitted.users.ids[:9]
    assert indexed.recommend(asked, k=5).equals(plain.recommend(asked, k=5))


@pytest.mark.parametrize("fitted", ["explicit_fold_in"], indirect=True)
def test_the_index_is_not_built_where_it_is_mapped(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = save_bundle(fitted, tmp_path / "indexed", with_index=True)
    indexed = runtime.load(path, backend="core")
    monkeypatch.setattr(ItemIndex, "__init__", lambda *_: pytest.fail("the index was built"))
    indexed.recommend(fitted.users.ids[:3], k=2)
    copied = pickle.loads(pickle.dumps(indexed.form))  # what is mapped is not pickled
    with pytest.raises(pytest.fail.Exception, match="built"):
        _ = copied.index


@pytest.mark.parametrize("fitted", ["explicit_fold_in"], indirect=True)
def test_an_index_that_does_not_fit_is_refused(fitted: FittedModel, tmp_path) -> None:
    dense = dataclasses.replace(fitted, form=make_form("dense"))
    with pytest.raises(ConfigError, match="without one"):
        save_bundle(dense, tmp_path / "dense", with_index=True)
    assert not (tmp_path / "dense").exists()

    path = save_bundle(fitted, tmp_path / "indexed", with_index=True)
    index = path / "index.safetensors"
    content = index.read_bytes()
    index.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FormatError, match=r"index\.safetensors: its SHA-256"):
        runtime.load(path, backend="core")
    index.write_bytes(content[:-9])
    with pytest.raises(FormatError, match=r"index\.safetensors: damaged"):
        runtime.load(path, backend="core", verify=False)
    ItemIndex(np.ones((3, 2))).save(index)
    with pytest.raises(FormatError, match="expected n_items, n_factors, metric and n_removed"):
        runtime.load(path, backend="core", verify=False)
    index.unlink()
    with pytest.raises(FormatError, match="missing"):
        runtime.load(path, backend="core")
