"""A bundle: a fitted model as a directory of plain files, without pickle.

=====================  =====================================================================================
file                   content
=====================  =====================================================================================
``manifest.json``      format version, model, config, metrics, parity error, versions, hash of every file
``model.onnx``         the model with filters and top-k inside; onnxruntime alone can run it
``item_ids.json``      ``{"dtype": ..., "ids": [...]}``: position in the list = item index in the graph
``user_ids.json``      the same for users
``state.safetensors``  arrays of the scoring form (``form.*``) and the users' histories (``histories.*``)
``items.parquet``      the items' features, such as titles, where there are any
``item_encoder.onnx``  from features to the vector of an item that is not in the catalogue, where the model learned it
``item_features.json`` how these features become the arrays that it takes
``user_features.json`` how features of those who ask become the inputs of ``model.onnx`` that take them, where it does
``index.safetensors``  the packed item index (``ops.ItemIndex.save``), where ``with_index`` asked for it
=====================  =====================================================================================
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsys_core.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    read_manifest,
    read_whole,
    verify_files,
    write_manifest,
)
from recsys_core.bundle.publish import published_directory
from recsys_core.data import FeaturePreparation, Histories, IdMap
from recsys_core.errors import ConfigError, DataError, FormatError
from recsys_core.export import ReducedEncoder, export_onnx
from recsys_core.models import DotForm, FittedModel, Provenance, Recommender, form_from_state, indexed_part
from recsys_core.ops import ItemIndex

__all__ = ["Bundle", "load_bundle", "read_bundle", "save_bundle"]

MODEL = "model.onnx"
STATE = "state.safetensors"
ITEM_IDS = "item_ids.json"
USER_IDS = "user_ids.json"
ITEM_FEATURES = "items.parquet"
ITEM_ENCODER = "item_encoder.onnx"
ITEM_PREPARATION = "item_features.json"
USER_PREPARATION = "user_features.json"
INDEX = "index.safetensors"
_RECORDED_VERSIONS = ("numpy", "onnx", "onnxruntime", "polars")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that has been read.

    Attributes
    ----------
    fitted
        The model.
    manifest
        The content of ``manifest.json``.
    model_path
        The ONNX file.
    """

    fitted: FittedModel
    manifest: dict[str, Any]
    model_path: Path


def save_bundle(
    model: Recommender | FittedModel | ReducedEncoder,
    path: str | os.PathLike[str],
    *,
    metrics: Mapping[str, float] | None = None,
    overwrite: bool = False,
    with_index: bool = False,
    with_users: bool = True,
) -> Path:
    """Export a fitted model and publish it as a bundle.

    The directory is written beside its place and renamed into it, so that a reader sees the old bundle or the new
    one, whole.

    Parameters
    ----------
    model
        A fitted recommender, or a :class:`~recsys_core.models.FittedModel`; or a model with a smaller encoder from
        :func:`recsys_core.export.reduce_encoder`, whose measured loss the manifest then records.
    path
        The directory to make.
    metrics
        Figures to record in the manifest, such as those of an evaluation.
    overwrite
        Replace an existing bundle.  A directory that is not a bundle is never replaced.
    with_index
        Write the item index of the compiled core too, packed as :meth:`recsys_core.ops.ItemIndex.save` does: 9.5
        bytes a factor, which whoever loads the bundle maps instead of building the index, and processes share.
    with_users
        Keep the users' ids, what they had and the vectors learned for them.  Without them nothing in the bundle is
        about a single person; it answers histories, as it does a stranger's.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ExportError
        ONNX does not give the model's answers; nothing is written.
    FormatError
        ``path`` exists, and ``overwrite`` is not set or it is not a bundle.
    NotFittedError
        The model is not fitted.
    ConfigError
        ``with_index`` is set for a model that answers without an item index.
    DataError
        ``with_users`` is off for a model that answers only for users it was trained on.
    """
    reduced = model if isinstance(model, ReducedEncoder) else None
    fitted = model if isinstance(model, FittedModel) else model.fitted
    if not with_users:
        fitted = fitted.without_users(fitted.users.ids)
    path = Path(path)
    indexed = indexed_part(fitted.form) if with_index else None
    if with_index and indexed is None:
        raise ConfigError(
            f"with_index: expected a model that answers from an item index, got a form {fitted.form.kind!r} without "
            "one; leave it out."
        )
    # JSON has no NaN: a metric that is undefined is null.
    figures = {name: float(value) if np.isfinite(value) else None for name, value in (metrics or {}).items()}
    if path.exists():
        if not overwrite:
            raise FormatError(f"{path}: exists already; choose another path, or pass overwrite=True.")
        if not (path / MANIFEST).is_file():
            kind = "a folder" if path.is_dir() else "a file"
            raise FormatError(f"{path}: expected a bundle to overwrite, got {kind} that is none; choose another path.")
        read_manifest(path)
    with published_directory(path) as directory:
        parity = export_onnx(fitted, directory / MODEL)
        arrays, meta = fitted.form.state()
        state = {f"form.{name}": array for name, array in arrays.items()}
        state |= {f"histories.{name}": getattr(fitted.histories, name) for name in ("indptr", "indices", "weights")}
        save_file(state, directory / STATE)
        (directory / ITEM_IDS).write_text(fitted.items.to_json(), encoding="utf-8")
        # safetensors makes its file private; whoever may read the others may read this one.
        shutil.copymode(directory / ITEM_IDS, directory / STATE)
        (directory / USER_IDS).write_text(fitted.users.to_json(), encoding="utf-8")
        if fitted.item_features is not None:
            fitted.item_features.write_parquet(directory / ITEM_FEATURES)
        item_encoder = fitted.form.item_encoder if isinstance(fitted.form, DotForm) else None
        if item_encoder is not None:
            # For those who have onnxruntime alone; the runtime reads both from the state.
            (directory / ITEM_ENCODER).write_bytes(item_encoder.graph)
            _write_preparation(directory / ITEM_PREPARATION, item_encoder.preparation)
        user_preparation = fitted.form.user_preparation
        if user_preparation is not None:
            _write_preparation(directory / USER_PREPARATION, user_preparation)
        if indexed is not None:
            indexed.index.save(directory / INDEX)
        write_manifest(
            directory,
            {
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "recsys_core": version("recsys-core"),
                "model": asdict(fitted.provenance),
                "form": {"kind": fitted.form.kind, **meta},
                "n_users": len(fitted.users),
                "n_items": len(fitted.items),
                "metrics": figures,
                **({} if reduced is None else {"encoder": reduced.to_dict()}),
                "parity": {"max_error": parity.max_error, "tolerance": parity.tolerance},
                "versions": {name: version(name) for name in _RECORDED_VERSIONS},
            },
            1 if user_preparation is None else FORMAT_VERSION,
        )
    return path


def load_bundle(path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
    """Read a bundle.

    Parameters
    ----------
    path
        The directory.
    verify
        Compare the hash of every file with the manifest's first, which reads them once.

    Raises
    ------
    FormatError
        It is not a bundle, is of another format version, or a file is missing or damaged.
    """
    path = Path(path)
    return read_whole(path, lambda manifest: read_bundle(path, manifest, verify=verify))


def read_bundle(path: Path, manifest: dict[str, Any], *, verify: bool) -> Bundle:
    """Read what a manifest lists; :func:`load_bundle` without care for a bundle that is replaced meanwhile."""
    if verify:
        verify_files(path, manifest)
    missing = sorted({MODEL, STATE, ITEM_IDS, USER_IDS} - set(manifest.get("files", ())))
    if missing:
        raise FormatError(f"{path}: expected {', '.join(missing)} in its manifest; write the bundle again.")
    try:
        state = load_file(path / STATE)
        meta = dict(manifest["form"])
        arrays = {name.removeprefix("form."): array for name, array in state.items() if name.startswith("form.")}
        features = path / ITEM_FEATURES
        fitted = FittedModel(
            form=form_from_state(meta.pop("kind"), arrays, meta),
            users=_read_ids(path / USER_IDS),
            items=_read_ids(path / ITEM_IDS),
            histories=Histories(*(state[f"histories.{name}"] for name in ("indptr", "indices", "weights"))),
            item_features=pl.read_parquet(features) if ITEM_FEATURES in manifest["files"] else None,
            provenance=Provenance(**manifest["model"]),
        )
        if INDEX in manifest["files"]:
            _map_index(fitted, path / INDEX)
    except (KeyError, TypeError, OSError, DataError, SafetensorError, pl.exceptions.PolarsError) as cause:
        raise FormatError(
            f"{path}: cannot be read ({type(cause).__name__}: {cause}); write the bundle again."
        ) from cause
    return Bundle(fitted, manifest, path / MODEL)


def _read_ids(path: Path) -> IdMap:
    try:
        return IdMap.from_json(path.read_text(encoding="utf-8"))
    except (FormatError, UnicodeDecodeError) as cause:
        raise FormatError(f"{path}: cannot be read ({cause}); write the bundle again.") from cause


def _write_preparation(path: Path, preparation: FeaturePreparation) -> None:
    path.write_text(json.dumps(preparation.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _map_index(fitted: FittedModel, path: Path) -> None:
    indexed = indexed_part(fitted.form)
    if indexed is None:
        raise FormatError(f"{path}: expected no such file beside a form {fitted.form.kind!r}; write the bundle again.")
    # Its hash is the manifest's concern, as that of every file.
    indexed.use_index(ItemIndex.load(path, verify=False))
