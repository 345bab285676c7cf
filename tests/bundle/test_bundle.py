"""Bundles: what is written is what is read, nothing is half there, and damage is named."""

from __future__ import annotations

import dataclasses
import json
import os
import threading

import numpy as np
import polars as pl
import pytest
from form_examples import make_form

from recsys_core.bundle import FORMAT_VERSION, load_bundle, save_bundle
from recsys_core.bundle.publish import published_directory
from recsys_core.data import IdMap
from recsys_core.errors import FormatError
from recsys_core.models import FittedModel, Provenance

FILES = {"item_ids.json", "manifest.json", "model.onnx", "state.safetensors", "user_ids.json"}


def test_what_is_read_is_what_was_written(fitted: FittedModel, tmp_path) -> None:
    features = pl.DataFrame({"item_id": fitted.items.ids, "title": [f"film {i}" for i in range(200)]})
    provenance = Provenance("demo", "demo-dist", "1.2", {"n_factors": 16, "window": None})
    saved = dataclasses.replace(fitted, item_features=features, provenance=provenance)
    path = save_bundle(saved, tmp_path / "demo.bundle", metrics={"ndcg@10": 0.25})
    assert {file.name for file in path.iterdir()} == FILES | {"items.parquet"}

    bundle = load_bundle(path)
    read = bundle.fitted
    assert bundle.manifest["format_version"] == FORMAT_VERSION
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
    with pytest.raises(FormatError, match="expected a bundle"):
        save_bundle(fitted, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_a_failed_save_leaves_the_old_bundle_and_nothing_else(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = save_bundle(fitted, tmp_path / "demo", metrics={"version": 1.0})

    def fail(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr("recsys_core.bundle.bundle.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(fitted, path, overwrite=True)
    assert load_bundle(path).manifest["metrics"] == {"version": 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]


def test_a_reader_never_sees_a_mixture(tmp_path) -> None:
    target = tmp_path / "shelf"

    def publish(version: int) -> None:
        with published_directory(target) as directory:
            for name in ("a", "b"):
                (directory / name).write_text(str(version))

    publish(0)
    stop = threading.Event()
    seen: list[tuple[str, str]] = []

    def read() -> None:
        while not stop.is_set():
            descriptor = os.open(target, os.O_RDONLY)  # holds on to one directory, whatever is renamed
            texts = []
            for name in ("a", "b"):
                try:
                    file = os.open(name, os.O_RDONLY, dir_fd=descriptor)
                except FileNotFoundError:
                    break  # replaced and removed meanwhile: the reader opens it again
                texts.append(os.read(file, 99).decode())
                os.close(file)
            os.close(descriptor)
            if len(texts) == 2:
                seen.append((texts[0], texts[1]))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(1, 50):
        publish(version)
    stop.set()
    reader.join()
    assert seen
    assert all(a == b for a, b in seen)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "manifest.json").unlink(), "expected a bundle with manifest.json"),
        (lambda path: (path / "manifest.json").write_text("{"), "expected JSON"),
        (lambda path: (path / "model.onnx").unlink(), "missing"),
        (lambda path: (path / "item_ids.json").write_text("[]"), "expected .* bytes"),
        (lambda path: flip_a_byte(path / "state.safetensors"), "SHA-256"),
        (lambda path: set_manifest(path, format_version=99), "expected format_version 1, got 99"),
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
