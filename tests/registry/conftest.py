"""Distributions made on disk, so that the tests go through the real discovery."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest

HEADER = """\
from recsys_core.registry import (
    DatasetSpec, EncoderSpec, KitSpec, MetricSpec, RecommenderSpec, RerankerSpec, hookimpl,
)
"""


class Site:
    """A folder on ``sys.path`` into which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")
        self.modules.append(name)
        importlib.invalidate_caches()

    def distribution(
        self, name: str, entry_points: dict[str, str], *, version: str = "1.0", metadata: bool = True
    ) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = "".join(f"{point} = {value}\n" for point, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[recsys_core.plugins]\n{lines}", encoding="utf-8")
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
        importlib.invalidate_caches()

    def plugin(
        self, distribution: str, source: str, *, point: str | None = None, version: str = "1.0", module: str = ""
    ) -> str:
        """Install a distribution with one plugin module; returns the module's name."""
        module = module or f"{distribution.replace('-', '_')}_plugin"
        self.module(module, HEADER + dedent(source))
        self.distribution(distribution, {point or distribution: module}, version=version)
        return module

    def recommenders(self, distribution: str, *specs: str, **options: str) -> str:
        """Install a plugin that registers these recommender specs, each a call as source."""
        body = "@hookimpl\ndef recsys_recommenders():\n    return [\n"
        return self.plugin(distribution, body + indent(",\n".join(specs), " " * 8) + "\n    ]\n", **options)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("RECSYS_PLUGINS", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    made = Site(tmp_path)
    yield made
    for name in made.modules:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
