"""``recsys explain``."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_core import runtime


def test_reasons_of_what_is_recommended(recsys, bundle: Path) -> None:
    report = recsys("explain", bundle, "--user", 4, "--k", 2, "--reasons", 1, "--json").json
    expected = runtime.load(bundle).explain(4, k=2, n_reasons=1).drop("user_id").to_dicts()
    for found, row in zip(report["explanations"], expected, strict=True):
        assert found == pytest.approx(row)
    assert {row["rank"] for row in report["explanations"]} == {1}


def test_reasons_of_chosen_items_to_a_history(recsys, bundle: Path) -> None:
    outcome = recsys("explain", bundle, "--history", "100,102", "--item", "104")
    assert outcome.stdout.startswith("104")
    assert "because of" in outcome.stdout
    assert "100" in outcome.stdout


def test_nothing_to_explain(recsys, bundle: Path) -> None:
    assert "Nothing to explain" in recsys("explain", bundle, "--history", "").stderr
    assert "--item: unknown item 7" in recsys("explain", bundle, "--user", 4, "--item", 7, code=3).stderr


@pytest.mark.parametrize("given", [(), ("--user", 1, "--history", "100")])
def test_one_asker(recsys, bundle: Path, given: tuple[object, ...]) -> None:
    assert "--user or --history" in recsys("explain", bundle, *given, code=2).stderr
