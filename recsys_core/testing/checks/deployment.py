"""Checks of what happens to a model after training: saved, exported, served."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from recsys_core import runtime
from recsys_core.bundle import save_bundle
from recsys_core.errors import ExportError
from recsys_core.export import OnnxRanker, export_onnx
from recsys_core.models import Recommender
from recsys_core.runtime import Runtime
from recsys_core.testing.outcome import NotApplicable, expect
from recsys_core.testing.rankings import expect_same, expect_same_tables
from recsys_core.testing.subject import Subject, questions

__all__ = ["check_bundle_round_trip", "check_onnx_parity", "check_runtime", "expect_served_alike", "load_saved"]

# What save_bundle promises, relative to the largest score of a list, at least 1.
ONNX_TOLERANCE = 1e-4


def check_onnx_parity(subject: Subject) -> None:
    """The ONNX graph gives the answers of the scoring form in onnxruntime, for several batch sizes and k."""
    fitted = subject.fitted.fitted
    with TemporaryDirectory(prefix="recsys-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(fitted, path)
        ranker = OnnxRanker(path)
        for n_queries, k in ((1, 1), (7, 10), (len(fitted.users), len(fitted.items) + 3)):
            for what, asked in questions(subject.fitted, np.arange(n_queries)).items():
                users = asked.get("user_index") if fitted.form.accepts_users else None
                histories = asked.get("histories") if users is None else None
                if users is None and histories is None:
                    histories = fitted.histories.rows(np.arange(n_queries))
                expect_same(
                    ranker.rank(users, histories, k),
                    fitted.form.rank(users, histories, k),
                    f"onnxruntime, {n_queries} {what}, k={k}",
                    tolerance=ONNX_TOLERANCE,
                    least_scale=1.0,
                )


def check_bundle_round_trip(subject: Subject) -> None:
    """A bundle holds the whole model: ids, histories, origin, and the answers it gave before it was saved."""
    model = subject.fitted
    loaded = load_saved(model, "core")
    expect(loaded.users == model.users and loaded.items == model.items, "bundle: the ids differ from the model's")
    expect(
        loaded.provenance == model.fitted.provenance, "bundle: name, settings or distribution differ from the model's"
    )
    for part in ("indptr", "indices", "weights"):
        same = np.array_equal(getattr(loaded.histories, part), getattr(model.histories, part))
        expect(same, f"bundle: histories.{part} differs from the model's")
    for what, asked in questions(model).items():
        expect_same(
            loaded.recommend_indices(**asked, k=10),
            model.recommend_indices(**asked, k=10),
            f"{what} asked of the bundle",
        )


def check_runtime(subject: Subject) -> None:
    """Asked by ids, a bundle served by onnxruntime answers as the model did."""
    model = subject.fitted
    served = load_saved(model, "onnx")
    users, items = model.users.ids[:20].to_list(), model.items.ids.to_list()
    requests: list[dict[str, Any]] = [
        {"users": users},
        {"users": users, "deny": items[:5]},
        {"users": users, "allow": items[::2]},
    ]
    if model.form.accepts_histories:
        requests += [{"histories": [items[:3], [], items[5:6]]}]
    for request in requests:
        expect_served_alike(served, model, request, f"runtime asked for {', '.join(request)}")


def expect_served_alike(served: Runtime, model: Recommender, request: dict[str, Any], what: str) -> None:
    """A served bundle answers a request by ids as the model does."""
    expect_same_tables(
        served.recommend(**request, k=5),
        model.recommend(**request, k=5),
        model.items,
        what,
        tolerance=ONNX_TOLERANCE,
        least_scale=1.0,
    )


def load_saved(model: Recommender, backend: Literal["onnx", "core"]) -> Runtime:
    """The model as a bundle gives it back."""
    with TemporaryDirectory(prefix="recsys-") as folder:
        try:
            bundle = save_bundle(model, Path(folder) / "bundle")
        except ExportError as cause:
            raise NotApplicable("there is no bundle without an ONNX graph; see onnx_parity") from cause
        return runtime.load(bundle, backend=backend)
