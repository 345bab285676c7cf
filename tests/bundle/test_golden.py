"""Bundles that older versions wrote must be read, and answer as they did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys_core import runtime
from recsys_core.bundle import FORMAT_VERSION

GOLDEN = Path(__file__).parents[1] / "golden"
BUNDLES = sorted(path.parent for path in GOLDEN.glob("v*/*/manifest.json"))


def test_there_are_golden_bundles_of_every_format() -> None:
    assert {path.parent.name for path in BUNDLES} == {f"v{version}" for version in range(1, FORMAT_VERSION + 1)}


@pytest.mark.parametrize("backend", ["onnx", "core"])
@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_answers_are_those_of_the_day(path: Path, backend: str) -> None:
    loaded = runtime.load(path, backend=backend)
    for question in json.loads(path.with_suffix(".json").read_text(encoding="utf-8")):
        answer = loaded.recommend(**question["asked"], k=2).to_dicts()
        assert [(row["user_id"], row["item_id"]) for row in answer] == [
            (row["user_id"], row["item_id"]) for row in question["answer"]
        ]
        assert [row["score"] for row in answer] == pytest.approx(
            [row["score"] for row in question["answer"]], rel=1e-4, abs=1e-5
        )
