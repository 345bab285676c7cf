"""Exporting: the file, its metadata, the parity check that guards it, and a k that is baked in."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from form_examples import make_form

from recsys_core.data import IdMap
from recsys_core.errors import ExportError, FormatError
from recsys_core.export import OnnxRanker, check_parity, export_onnx
from recsys_core.models import DotForm, Filters, FittedModel, FoldIn, ItemItemForm, PairForm, StaticForm


def test_export_reports_parity_and_carries_metadata(fitted: FittedModel, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    report = export_onnx(fitted, path)
    assert report.max_error <= report.tolerance == 1e-4
    assert report.n_queries >= 37 * 4
    assert str(report).startswith("ONNX gives the model's answers")
    metadata = OnnxRanker(path).metadata
    assert metadata["recsys_core.format_version"] == ("1" if fitted.form.user_preparation is None else "2")
    assert metadata["recsys_core.item_ids_sha256"] == fitted.items.digest
    assert metadata["recsys_core.form"] == fitted.form.kind


@pytest.mark.parametrize(("own", "retrievers", "expected"), [(1e-4, 0.02, 0.02), (0.03, 0.02, 0.03)])
def test_the_tolerance_is_that_of_the_less_exact_stage(histories, tmp_path, own, retrievers, expected) -> None:
    pair, retriever = make_form("two_stage_item_item"), make_form("encoder")
    retriever = dataclasses.replace(retriever, encoder=dataclasses.replace(retriever.encoder, tolerance=retrievers))
    form = dataclasses.replace(pair, encoder=dataclasses.replace(pair.encoder, tolerance=own), retriever=retriever)
    model = FittedModel(form, IdMap(range(len(histories))), IdMap(range(form.n_items)), histories)
    assert export_onnx(model, tmp_path / "model.onnx").tolerance == expected


def test_a_baked_k_is_no_input_and_fixes_the_output_shape(fitted: FittedModel, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path, k=7)
    graph = onnx.load(path).graph
    assert "k" not in {node.name for node in graph.input}
    assert graph.output[0].type.tensor_type.shape.dim[1].dim_value == 7


def changed(form):
    """The same form, computing something slightly different."""
    if isinstance(form, StaticForm):
        return StaticForm(form.scores + np.float32(0.01))
    if isinstance(form, ItemItemForm):
        return dataclasses.replace(form, weights=form.weights * np.float32(1.01))
    if isinstance(form, PairForm):
        return dataclasses.replace(form, item_inputs=form.item_inputs * np.float32(1.01))
    return dataclasses.replace(form, item_factors=form.item_factors * np.float32(1.01))


def test_parity_fails_when_the_scores_differ(fitted: FittedModel, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    with pytest.raises(ExportError, match="parity"):
        check_parity(dataclasses.replace(fitted, form=changed(fitted.form)), path)


def test_parity_fails_when_items_are_swapped(fitted: FittedModel, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    form = fitted.form
    order = np.arange(form.n_items)[::-1].copy()
    if isinstance(form, StaticForm):
        swapped = StaticForm(form.scores[order])
    elif isinstance(form, ItemItemForm):
        swapped = dataclasses.replace(form, weights=form.weights[:, order])
    elif isinstance(form, PairForm):
        swapped = dataclasses.replace(form, item_inputs=form.item_inputs[order])
    else:
        fold_in = form.fold_in and dataclasses.replace(form.fold_in)
        swapped = dataclasses.replace(form, item_factors=form.item_factors[order], fold_in=fold_in)
    with pytest.raises(ExportError, match="parity"):
        check_parity(dataclasses.replace(fitted, form=swapped), path)


def test_a_refused_export_leaves_no_file(histories, tmp_path) -> None:
    from recsys_core.data import IdMap

    rng = np.random.default_rng(0)
    items = (rng.normal(size=(200, 8)) * 1e6).astype(np.float32)
    # So badly conditioned that float32 cannot solve it: the graph and the core must disagree.
    fold_in = FoldIn((1e-9 * np.eye(8)).astype(np.float32), (1.0, 0.0), (0.0, 1.0))
    items[:, 1] = items[:, 0] * np.float32(1 + 1e-6)
    fitted = FittedModel(DotForm(items, fold_in=fold_in), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    path = tmp_path / "model.onnx"
    with pytest.raises(Exception, match=r"parity|pivot|positive definite"):
        export_onnx(fitted, path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_onnx_model_is_a_format_error(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(FormatError, match="export it again"):
        OnnxRanker(path)


def test_big_models_keep_their_tables_in_a_second_file(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("recsys_core.export.onnx_model.EXTERNAL_DATA_BYTES", 100)
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    # ONNX leaves tables under 1 KiB in the file itself, and the static scores are that small.
    assert (tmp_path / "model.onnx.data").exists() == (fitted.form.kind != "static")
    assert OnnxRanker(path).rank(np.array([1]), fitted.histories.rows([1]), 3).indices.shape == (1, 3)


def test_large_batches_are_cut(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    users = np.arange(50)
    by_user = fitted.form.accepts_users
    asked = (users, None) if by_user else (None, fitted.histories.rows(users))
    exclude = fitted.histories.to_csr(200)
    whole = OnnxRanker(path).rank(*asked, 10, Filters(exclude))
    monkeypatch.setattr("recsys_core.export.session.BATCH_BYTES", 16 * 200 * 7)
    cut = OnnxRanker(path).rank(*asked, 10, Filters(exclude))
    np.testing.assert_allclose(cut.scores, whole.scores, rtol=1e-4, atol=1e-4)
    assert (cut.indices == whole.indices).mean() > 0.99


def test_a_refused_export_keeps_the_file_that_was_there(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    before = path.read_bytes()

    def refuse(*_args, **_options):
        raise ExportError("parity: no")

    monkeypatch.setattr("recsys_core.export.onnx_model.check_parity", refuse)
    with pytest.raises(ExportError):
        export_onnx(fitted, path, k=3)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_exporting_again_does_not_grow_the_second_file(fitted: FittedModel, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(fitted, path)
    monkeypatch.setattr("recsys_core.export.onnx_model.EXTERNAL_DATA_BYTES", 100)
    sizes = set()
    for _ in range(3):
        export_onnx(fitted, path)
        sizes.add(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert len(sizes) == 1
    monkeypatch.undo()
    export_onnx(fitted, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_of_another_origin_or_format_is_refused(fitted: FittedModel, tmp_path) -> None:
    from recsys_core.export import build_onnx

    for version in ("99", None):
        model = build_onnx(fitted)
        for entry in list(model.metadata_props):
            if entry.key == "recsys_core.format_version":
                if version is None:
                    model.metadata_props.remove(entry)
                else:
                    entry.value = version
        onnx.save_model(model, tmp_path / "model.onnx")
        with pytest.raises(FormatError, match=f"format_version 1 to 2, got {version}"):
            OnnxRanker(tmp_path / "model.onnx")


def test_memory_for_long_histories_is_bounded(histories, tmp_path) -> None:
    from form_examples import make_form

    from recsys_core.data import Histories, IdMap
    from recsys_core.export import build_onnx

    fitted = FittedModel(make_form("histories_only"), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    onnx.save_model(build_onnx(fitted), tmp_path / "model.onnx")
    ranker = OnnxRanker(tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    long = Histories.from_lists([rng.choice(200, rng.integers(0, 150), replace=False).tolist() for _ in range(3000)])
    held = [len(rows) * int(long.lengths[rows].max(initial=0)) * 4 * 32 for rows in ranker._batches(3000, long, None)]
    assert max(held) < 128 << 20
    assert len(held) < 20
    order = np.concatenate(list(ranker._batches(3000, long, None)))
    assert sorted(order.tolist()) == list(range(3000))
