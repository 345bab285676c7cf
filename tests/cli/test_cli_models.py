"""``recsys models`` and ``recsys doctor``."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from recsys_core import list_models, ops
from recsys_core.cli.commands.models_show import _settings
from recsys_core.models import Config
from recsys_core.registry import default_registry


def test_list(recsys) -> None:
    listed = recsys("models", "list", "--json").json["entries"]
    assert [entry["name"] for entry in listed] == list_models()
    assert all(entry["summary"] and entry["distribution"].startswith("recsys-core ") for entry in listed)
    assert "als" in recsys("models", "list").stdout


def test_list_by_pattern_and_kind(recsys) -> None:
    assert [entry["name"] for entry in recsys("models", "list", "*als*", "--json").json["entries"]] == ["als"]
    datasets = recsys("models", "list", "--kind", "dataset", "--json").json
    assert datasets["kind"] == "dataset"
    assert "ml-100k" in [entry["name"] for entry in datasets["entries"]]
    nothing = recsys("models", "list", "zzz*")
    assert nothing.stdout == ""
    assert "zzz*" in nothing.stderr
    assert "'--kind'" in recsys("models", "list", "--kind", "modell", code=2).stderr


def test_show_lists_every_setting(recsys) -> None:
    shown = recsys("models", "show", "als", "--json").json
    config = default_registry().find("als").config_class()
    assert [setting["name"] for setting in shown["settings"]] == list(config.model_fields)
    by_name = {setting["name"]: setting for setting in shown["settings"]}
    assert by_name["n_factors"] == {
        "name": "n_factors",
        "type": "integer",
        "default": 64,
        "range": ">= 1",
        "description": config.model_fields["n_factors"].description,
    }
    assert by_name["solver"]["type"] == '"auto" | "cholesky" | "cg" | "subspace"'
    text = recsys("models", "show", "als").stdout
    assert re.search(r"n_factors\s+integer\s+64\s+>= 1", text)


def test_show_takes_a_qualified_name(recsys) -> None:
    assert recsys("models", "show", "recsys-core:als", "--json").json["name"] == "als"


def test_types_and_ranges_of_settings() -> None:
    from enum import StrEnum

    from pydantic import Field

    class Mood(StrEnum):
        good = "good"
        bad = "bad"

    class Every(Config):
        open_range: float = Field(0.5, gt=0, lt=1)
        optional: int | None = Field(None, ge=2)
        pair: tuple[int, str] = (1, "a")
        many: list[float] = Field(default_factory=list)
        mood: Mood = Mood.good
        flag: bool = True

    rows = {row["name"]: (row["type"], row["range"]) for row in _settings(Every)}
    assert rows == {
        "open_range": ("number", "> 0, < 1"),
        "optional": ("integer | null", ">= 2"),
        "pair": ("[integer, string]", ""),
        "many": ("[number, ...]", ""),
        "mood": ('"good" | "bad"', ""),
        "flag": ("boolean", ""),
    }


def test_doctor(recsys) -> None:
    report = recsys("doctor", "--json").json
    assert report["core"]["isa"] == ops.isa()
    assert report["core"]["available_isas"] == ops.available_isas()
    assert report["core"]["threads"] == ops.max_threads()
    state = ops.cuda_state()
    assert report["core"]["cuda"]["problem"] == state.problem
    assert len(report["core"]["cuda"]["devices"]) == len(state.devices)
    assert report["versions"]["torch"] is None or report["versions"]["torch"][0].isdigit()
    assert {plugin["plugin"] for plugin in report["plugins"]} >= {"classic", "datasets"}
    assert report["problems"] == []
    text = recsys("doctor").stdout
    assert "No problems found." in text
    assert ops.isa() in text


def test_doctor_obeys_the_requested_instruction_set(recsys_process) -> None:
    report = recsys_process("doctor", "--json", RECSYS_ISA="baseline").json
    assert report["core"]["isa"] == report["core"]["requested_isa"] == "baseline"


@pytest.mark.parametrize("module", ["onnxruntime", "onnx", "recsys_core._core", "pluggy"])
def test_doctor_reports_what_cannot_be_imported(module: str) -> None:
    script = f"""
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise OSError("libbroken.so is missing")
sys.meta_path.insert(0, Broken())
from recsys_core.cli import main
main()
"""
    command = [sys.executable, "-c", script, "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (problem,) = json.loads(done.stdout)["problems"]
    assert "cannot be imported (OSError: libbroken.so is missing); install it again." in problem
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"problem: {problem}" in done.stdout
    assert done.stderr == ""


def test_show_takes_every_kind(recsys) -> None:
    assert recsys("models", "show", "mmr", "--kind", "reranker", "--json").json["kind"] == "reranker"
    assert "Root mean squared error" in recsys("models", "show", "rmse", "--kind", "metric").stdout
    assert recsys("models", "show", "ml-100k", "--kind", "dataset").stdout
    assert "models show NAME --kind metric" in recsys("models", "list", "--kind", "metric").stderr
    assert recsys("models", "show", "mmr", code=4).stderr
