"""Every Python block and every `recsys` command in the documentation runs."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
TORCH = re.compile(r"import torch|two_tower")
COMMAND = re.compile(r"^\$ (recsys .*)$", re.MULTILINE)


def needs_dataset(text: str, page: Path) -> None:
    """Skip what needs a data set that cannot be had; in CI what the README promises has to run."""
    if "ml-100k" not in text:
        return
    from recsys_core import load_dataset
    from recsys_core.errors import DataError

    try:
        load_dataset("ml-100k")
    except DataError as cause:
        if os.environ.get("CI") and page.name == "README.md":
            pytest.fail(f"MovieLens 100K cannot be had: {cause}")
        pytest.skip(f"MovieLens 100K cannot be had: {cause}")


@pytest.mark.parametrize(("variable", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_in_ci_a_missing_data_set_fails_the_readme(
    monkeypatch: pytest.MonkeyPatch, variable: str, outcome: type[BaseException]
) -> None:
    from recsys_core.errors import DataError

    def load(name: str) -> None:
        raise DataError(f"{name}: no network")

    monkeypatch.setattr("recsys_core.load_dataset", load)
    monkeypatch.setenv("CI", variable)
    with pytest.raises(outcome, match="cannot be had"):
        needs_dataset("--dataset ml-100k", ROOT / "README.md")
    with pytest.raises(pytest.skip.Exception):
        needs_dataset("--dataset ml-100k", ROOT / "docs" / "command-line.md")


def python_page(page: Path) -> object:
    """The page as a parameter; slow if it may have to download a data set."""
    downloads = any("ml-100k" in block for block in PYTHON.findall(page.read_text(encoding="utf-8")))
    return pytest.param(page, id=page.name, marks=[pytest.mark.slow] if downloads else [])


@pytest.mark.parametrize("page", [python_page(page) for page in PAGES])
def test_python_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = PYTHON.findall(page.read_text(encoding="utf-8"))
    if not blocks:
        pytest.skip("no Python in it")
    if any(map(TORCH.search, blocks)):
        pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    needs_dataset("".join(blocks), page)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_in_order(page: Path, tmp_path: Path) -> None:
    commands = COMMAND.findall(page.read_text(encoding="utf-8"))
    if not commands:
        pytest.skip("no commands in it")
    needs_dataset("".join(commands), page)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_run_file_of_the_guide_is_valid(tmp_path: Path) -> None:
    from recsys_core.cli.run_config import read_run_config

    (text,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "command-line.md").read_text("utf-8"), re.S | re.M)
    (tmp_path / "run.toml").write_text(text)
    run = read_run_config(tmp_path / "run.toml", [])
    assert set(run.model_tables) == {"small", "large"}


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme, page.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
