"""``recsys forget``."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_core import runtime


def test_a_user_is_gone_and_the_others_are_answered_as_before(recsys, bundle: Path, tmp_path: Path) -> None:
    report = recsys("forget", bundle, tmp_path / "new", "--user", 4, "--user", 7, "--json").json
    before, after = runtime.load(bundle), runtime.load(tmp_path / "new")
    assert report["n_forgotten"] == 2
    assert report["n_users"] == len(after.users) == len(before.users) - 2
    assert 4 not in after.users
    stayed = after.users.ids.to_list()[:3]
    assert after.recommend(stayed)["item_id"].to_list() == before.recommend(stayed)["item_id"].to_list()


def test_in_its_place(recsys, bundle: Path, tmp_path: Path) -> None:
    recsys("forget", bundle, tmp_path / "new", "--user", 4)
    outcome = recsys("forget", tmp_path / "new", tmp_path / "new", "--user", 7, "--overwrite")
    assert "users forgotten" in outcome.stdout
    assert 7 not in runtime.load(tmp_path / "new").users


def test_everybody(recsys, bundle: Path, tmp_path: Path) -> None:
    assert recsys("forget", bundle, tmp_path / "new", "--everybody", "--json").json["n_users"] == 0
    recsys("recommend", tmp_path / "new", "--history", "100,102")


@pytest.mark.parametrize("given", [(), ("--user", 1, "--everybody")])
def test_who_has_to_be_said(recsys, bundle: Path, tmp_path: Path, given: tuple[object, ...]) -> None:
    assert "--user or --everybody" in recsys("forget", bundle, tmp_path / "new", *given, code=2).stderr
    assert not (tmp_path / "new").exists()
