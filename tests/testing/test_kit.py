"""The kit passes healthy models, and each check catches the fault it is there for."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from broken import BROKEN, SETTINGS, Averages, Neighbors, ReadsTowns

from recsys_core.errors import DTypeError, PluginError, UnknownModelError
from recsys_core.registry import Registry, default_registry
from recsys_core.testing import (
    CHECKS,
    CheckResult,
    ConformanceReport,
    check_conformance,
    parametrize_with_checks,
)

NAMES = [check.__name__.removeprefix("check_") for check in CHECKS]
CASES = [(name, factory) for name, factories in BROKEN.items() for factory in factories]


@pytest.mark.parametrize(("name", "factory"), CASES, ids=[f"{name}-{factory.__name__}" for name, factory in CASES])
def test_a_broken_recommender_fails_exactly_its_check(name, factory):
    report = check_conformance(factory, settings=SETTINGS.get(factory))
    assert [result.name for result in report.failed] == [name], str(report)
    assert report.failed[0].message
    assert not report.passed


def test_every_check_has_a_broken_recommender():
    assert [*BROKEN, "inert_plugin"] == [*(name for name in NAMES if name != "inert_plugin"), "inert_plugin"]
    assert all(BROKEN.values())


PLUGIN = """
from recsys_core.registry import RecommenderSpec, hookimpl
{statement}
@hookimpl
def recsys_recommenders():
    return [RecommenderSpec("kit-model", "kit_models:Model", {config!r})]
"""
MODULE = """
from broken import Neighbors, NeighborsConfig

class Model(Neighbors):
    pass
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a distribution with one recommender; returns its entry."""

    def install(statement: str = "", config: str = "broken:NeighborsConfig"):
        info = tmp_path / "kit_dist-3.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit-dist\nVersion: 3.1\n")
        (info / "entry_points.txt").write_text("[recsys_core.plugins]\nkit = kit_plugin\n")
        (tmp_path / "kit_plugin.py").write_text(PLUGIN.format(statement=statement, config=config))
        (tmp_path / "kit_models.py").write_text(MODULE)
        importlib.invalidate_caches()
        return Registry().find("kit-model")

    monkeypatch.delenv("RECSYS_PLUGINS", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield install
    for module in ("kit_plugin", "kit_models"):
        sys.modules.pop(module, None)


def test_a_healthy_plugin_passes_every_check(installed):
    report = check_conformance(installed())
    assert report.passed, str(report)
    assert report.name == "kit-dist:kit-model"
    assert [result.name for result in report.not_applicable] == [
        "watching_changes_nothing",
        "partial_fit",
        "user_features",
    ]
    assert report.n_checks == len(CHECKS) - 3


def test_a_plugin_that_imports_its_model_is_not_inert(installed):
    report = check_conformance(installed("import kit_models"))
    assert [result.name for result in report.failed] == ["inert_plugin"], str(report)
    assert "importing it imports kit_models" in report.failed[0].message


def test_a_plugin_that_only_loads_beside_others_is_not_inert(installed):
    report = check_conformance(installed("import sys\nassert 'pytest' in sys.modules"))
    assert [result.name for result in report.failed] == ["inert_plugin"], str(report)
    assert "cannot be imported in a new interpreter" in report.failed[0].message


def test_a_plugin_must_name_the_config_that_its_model_uses(installed):
    report = check_conformance(installed(config=""))
    assert [result.name for result in report.failed] == ["defaults"], str(report)
    assert "the plugin names Config, what it makes uses NeighborsConfig" in report.failed[0].message


@pytest.mark.parametrize("factory", [Neighbors, Averages, ReadsTowns])
def test_a_healthy_class_passes_all_that_apply(factory):
    report = check_conformance(factory)
    assert report.passed, str(report)
    reasons = {result.name: result.message for result in report.not_applicable}
    assert reasons.pop("inert_plugin") == "the class was given, not a registered name"
    assert set(reasons) <= {
        "progress_rises",
        "progress_can_stop",
        "search_space",
        "watching_changes_nothing",
        "partial_fit",
        "user_features",
    }
    assert report.n_checks == len(CHECKS) - len(report.not_applicable)


def test_a_check_that_does_not_apply_has_not_passed():
    report = check_conformance("popularity")
    (similar,) = [result for result in report.results if result.name == "similar_items"]
    assert (similar.outcome, similar.passed) == ("not applicable", False)
    assert similar.message == "it relates no items to each other"


def test_a_report_can_be_read():
    results = (
        CheckResult("order", "passed", "", 0.25),
        CheckResult("filters", "failed", "users, deny: item [3] must not be recommended", 1.5),
        CheckResult("similar_items", "not applicable", "it relates no items", 0.0),
    )
    report = ConformanceReport("mine", results)
    assert (report.n_checks, len(report.failed), report.passed) == (2, 1, False)
    assert str(report).splitlines() == [
        "mine: 1 of 2 checks passed, 1 not applicable",
        "  passed          order                       0.25 s",
        "  failed          filters                     1.50 s  users, deny: item [3] must not be recommended",
        "  not applicable  similar_items               0.00 s  it relates no items",
    ]


def test_a_fault_of_many_checks_is_told_once():
    results = [CheckResult(name, "failed", "fit: no such file", 0.0) for name in ("order", "filters")]
    lines = str(ConformanceReport("mine", tuple(results))).splitlines()
    assert lines[1].endswith("fit: no such file")
    assert lines[2].endswith("s  as order")


def test_a_report_of_no_checks_has_not_passed():
    assert not ConformanceReport("mine", ()).passed
    assert not ConformanceReport("mine", (CheckResult("order", "not applicable", "why", 0.0),)).passed


def test_every_check_says_in_one_line_what_is_promised():
    for check in CHECKS:
        summary = inspect.getdoc(check).splitlines()[0]
        assert summary.endswith("."), check.__name__
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("no-such-model", UnknownModelError, "recommender 'no-such-model': no plugin registers it"),
        (
            Neighbors(),
            DTypeError,
            r"recommender: expected a registered name, an Entry or a subclass of Recommender, got",
        ),
        (int, DTypeError, r"recommender: expected .*, got <class 'int'>"),
    ],
)
def test_what_cannot_be_checked_is_refused(model, error, message):
    with pytest.raises(error, match=message):
        check_conformance(model)


def test_a_model_that_cannot_be_imported_is_a_plugin_error(installed, tmp_path):
    entry = installed()
    (tmp_path / "kit_models.py").write_text("1 / 0")
    with pytest.raises(PluginError, match=r"kit_models:Model: cannot be imported \(ZeroDivisionError"):
        check_conformance(entry)


def test_the_kit_needs_no_pytest():
    code = "import sys; import recsys_core.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parameters_are_named_after_model_and_check():
    mark = parametrize_with_checks(["popularity", Neighbors]).mark
    assert mark.args[0] == "check"
    ids = [parameter.id for parameter in mark.args[1]]
    assert ids == [f"{model}-{name}" for model in ("recsys-core:popularity", "Neighbors") for name in NAMES]


def test_parameters_fail_pass_and_skip_as_the_checks_do(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from broken import IgnoresDeny\n"
        "from recsys_core.testing import parametrize_with_checks\n"
        "@parametrize_with_checks([IgnoresDeny])\n"
        "def test_conformance(check):\n    check()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"1 failed, {len(CHECKS) - 5} passed, 4 skipped" in run.stdout
    assert "test_conformance[IgnoresDeny-filters]" in run.stdout


def without_torch() -> list[str]:
    """The models that train in a moment; the neural ones are checked beside their other tests, with small settings."""
    entries = default_registry().entries("recommender")
    return sorted(entry.spec.name for entry in entries if not entry.spec.factory.startswith("recsys_neural."))


@pytest.mark.parametrize("name", without_torch())
def test_every_registered_recommender_keeps_its_promises(name, record_property):
    # slim warns that its default outweighs the few events of some checks, and warnings are errors here.
    report = check_conformance(name, settings={"l1": 0.1} if name == "slim" else None)
    record_property("n_checks", report.n_checks)
    record_property("not_applicable", [result.name for result in report.not_applicable])
    assert report.passed, str(report)
    # Whatever else does not apply, most checks must have run.
    assert report.n_checks >= len(CHECKS) - 5, str(report)
