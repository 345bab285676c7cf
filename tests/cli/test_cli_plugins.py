"""``recsys plugins``: listing, checking, and starting one from the template."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path

import pytest

from recsys_core.cli.commands.plugins_new import _COMMON, _TEMPLATES, Kind
from recsys_core.registry import ENTRY_POINT_GROUP, Registry

REPOSITORY = Path(__file__).parents[2]


def install(site: Path, name: str, point: str, module: str) -> None:
    """What an installer leaves behind: metadata with the entry point."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{point} = {module}\n", "utf-8")


def install_source(site: Path, directory: Path) -> None:
    project = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]
    [(point, module)] = project["entry-points"][ENTRY_POINT_GROUP].items()
    install(site, project["name"], point, module)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    install(site, "recsys-broken", "broken", "broken_plugin")
    (site / "broken_plugin.py").write_text("raise RuntimeError('this plugin is broken')\n", "utf-8")
    return site


@pytest.fixture
def generated(recsys, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "recsys-together"
    recsys("plugins", "new", "recsys-together", "--directory", directory)
    yield directory
    # A test may have imported it, and `plugins new` refuses the name of a module that is there.
    for module in [name for name in sys.modules if name.partition(".")[0] == "recsys_together"]:
        del sys.modules[module]


def test_list(recsys) -> None:
    plugins = {plugin["name"]: plugin for plugin in recsys("plugins", "list", "--json").json["plugins"]}
    assert plugins["classic"]["status"] == "loaded"
    assert {"kind": "recommender", "name": "als"} in plugins["classic"]["offers"]
    assert "classic" in recsys("plugins", "list").stdout


def test_a_name_that_no_plugin_has_is_told(recsys_process) -> None:
    for command in (("models", "list"), ("plugins", "list")):
        told = recsys_process(*command, RECSYS_PLUGINS="clasic,datasets").stderr
        assert "RECSYS_PLUGINS names 'clasic', which no installed plugin is called" in told
    told = recsys_process("models", "show", "als", code=4, RECSYS_PLUGINS="clasic").stderr
    assert "RECSYS_PLUGINS names 'clasic', which no installed plugin is called." in told


def test_a_broken_plugin_is_listed_and_hurts_nobody(recsys_process, broken: Path) -> None:
    def run(*arguments: str, code: int = 0, **variables: str):
        return recsys_process(*arguments, code=code, PYTHONPATH=str(broken), **variables)

    plugins = {plugin["name"]: plugin for plugin in run("plugins", "list", "--json").json["plugins"]}
    assert plugins["broken"]["status"] == "failed"
    assert "this plugin is broken" in plugins["broken"]["error"]
    assert "Traceback" in plugins["broken"]["traceback"]
    assert plugins["classic"]["status"] == "loaded"
    assert "Traceback" not in run("plugins", "list").stdout
    assert "Traceback" in run("plugins", "list", "--details").stdout
    listed = run("models", "list", "als", "--json")
    assert [entry["name"] for entry in listed.json["entries"]] == ["als"]
    assert "warning: plugin broken failed to load" in listed.stderr
    doctor = run("doctor", "--json", code=4)
    assert "this plugin is broken" in doctor.json["problems"][0]
    assert "this plugin is broken" in run("plugins", "check", "broken", code=4).stderr
    disabled = run("plugins", "list", "--json", RECSYS_PLUGINS="-broken").json["plugins"]
    assert {plugin["name"]: plugin["status"] for plugin in disabled}["broken"] == "disabled"
    assert "RECSYS_PLUGINS" in run("plugins", "check", "broken", code=4, RECSYS_PLUGINS="-broken").stderr


def test_check_a_model(recsys) -> None:
    report = recsys("plugins", "check", "popularity", "--json").json
    assert report["ok"] is True
    [recommender] = report["checked"]
    assert (recommender["kind"], recommender["name"]) == ("recommender", "popularity")
    assert recommender["n_checks"] > 10
    assert recommender["n_failed"] == 0
    assert {result["outcome"] for result in recommender["results"]} <= {"passed", "not applicable"}
    assert "checks passed" in recsys("plugins", "check", "popularity").stdout


FOUR_ENCODERS = """
import torch
from recsys_neural.encoders import Encoder, EntityEmbedding

class Right(Encoder):
    def __init__(self, inputs, n_dims, **settings):
        super().__init__(inputs, n_dims, **settings)
        self.embedding = EntityEmbedding(inputs, n_dims)

    def forward(self, batch):
        tokens, mask = self.embedding(batch)
        return tokens.sum(1) / mask.sum(1, keepdim=True)

class Wide(Right):
    def forward(self, batch):
        return torch.nn.functional.pad(super().forward(batch), (0, 1))

class Nan(Right):
    def forward(self, batch):
        return super().forward(batch) * torch.nan
"""
PLUGIN = """
from recsys_core.registry import EncoderSpec, hookimpl

@hookimpl
def recsys_encoders():
    return [EncoderSpec(name, f"four_encoders:{name.title()}") for name in ("right", "wide", "nan", "missing")]
"""


@pytest.mark.slow
def test_check_a_plugin_of_encoders_alone(recsys_process, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    table = f'[project.entry-points."{ENTRY_POINT_GROUP}"]\nfour = "four_plugin"\n'
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'four'\nversion = '1'\n{table}", "utf-8")
    (tmp_path / "four_plugin.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "four_encoders.py").write_text(FOUR_ENCODERS, "utf-8")
    report = recsys_process("plugins", "check", tmp_path, "--json", code=4).json
    failed = {
        one["name"]: {result["name"] for result in one["results"] if result["outcome"] == "failed"}
        for one in report["checked"]
    }
    assert failed["right"] == set()
    assert failed["missing"] == {"import"}
    assert "output" in failed["wide"]
    assert "finite" in failed["nan"]


def test_check_says_it_is_no_recommender(recsys) -> None:
    for name, kind in (("mmr", "reranker"), ("ndcg", "metric")):
        [checked] = recsys("plugins", "check", name, "--json").json["checked"]
        assert (checked["kind"], checked["name"], checked["n_failed"]) == (kind, name, 0)


def test_check_what_cannot_be_checked(recsys, tmp_path: Path) -> None:
    assert "did you mean 'popularity'" in recsys("plugins", "check", "popularty", code=4).stderr
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert ENTRY_POINT_GROUP in recsys("plugins", "check", tmp_path, code=4).stderr
    (tmp_path / "pyproject.toml").write_text("[project\n")
    assert "expected TOML" in recsys("plugins", "check", tmp_path, code=5).stderr


def test_check_finds_what_is_wrong(recsys_process, generated: Path) -> None:
    model = generated / "src" / "recsys_together" / "model.py"
    source = model.read_text("utf-8")
    model.write_text(source.replace("progress(1, 1)", "weights.data[:] = np.nan"), "utf-8")
    report = recsys_process("plugins", "check", generated, "--json", code=4).json
    assert report["ok"] is False
    failed = [result["name"] for result in report["checked"][0]["results"] if result["outcome"] == "failed"]
    assert "finite_scores" in failed
    assert report["checked"][0]["n_failed"] == len(failed)


def test_check_a_source_tree(recsys_process, generated: Path) -> None:
    report = recsys_process("plugins", "check", generated, "--json").json
    assert report["ok"] is True
    assert [recommender["name"] for recommender in report["checked"]] == ["together"]


def places(kind: Kind, package: str) -> set[str]:
    return {place.format(package=package) for place in (_COMMON | _TEMPLATES[kind].files).values()}


def test_new_writes_every_file(recsys, generated: Path) -> None:
    written = {path.relative_to(generated).as_posix() for path in generated.rglob("*") if path.is_file()}
    assert written == places(Kind.recommender, "recsys_together")
    for path in generated.rglob("*"):
        assert path.is_dir() or "$" not in path.read_text("utf-8")
    report = recsys("plugins", "new", "two-words", "-d", generated / "inside", "--json").json
    assert (report["kind"], report["registered"]) == ("recommender", "two_words")
    assert set(report["files"]) == places(Kind.recommender, "two_words")
    report = recsys("plugins", "new", "recsys-newest", "-d", generated / "encoder", "--kind", "encoder", "--json").json
    assert (report["kind"], report["registered"]) == ("encoder", "newest")
    assert set(report["files"]) == places(Kind.encoder, "recsys_newest")


def test_every_file_of_the_template_is_used() -> None:
    template = Path(str(files("recsys_core.cli") / "template"))
    shipped = {path.relative_to(template).as_posix() for path in template.rglob("*") if path.is_file()}
    assert shipped == set(_COMMON).union(*(kind.files for kind in _TEMPLATES.values()))


def test_new_registers_without_importing_the_model(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(generated / "src"))
    [record] = Registry([EntryPoint("together", "recsys_together.plugin", ENTRY_POINT_GROUP)]).plugins
    assert record.status == "loaded"
    assert [spec.name for spec in record.specs] == ["together"]
    assert "recsys_together.model" not in sys.modules


def test_new_refuses_an_existing_directory(recsys, generated: Path) -> None:
    before = sorted(generated.rglob("*"))
    assert "exists already" in recsys("plugins", "new", "recsys-x", "-d", generated, code=2).stderr
    assert sorted(generated.rglob("*")) == before


@pytest.mark.parametrize("name", ["Recsys-X", "recsys_x", "x--y", "-x", "9x", "x y", "json", "class", "recsys-core",
                                  "recsys-9", "../x", "", "numpy", "recsys-classic", "als",
                                  "recsys-item-knn"])  # fmt: skip
def test_new_refuses_names(recsys, tmp_path: Path, name: str) -> None:
    recsys("plugins", "new", "--directory", tmp_path / "x", "--", name, code=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", ["x", "recsys-true", "recsys-config", "recsys-a-rather-long-name-for-a-recommender"])
def test_new_passes_ruff_whatever_the_name(recsys, tmp_path: Path, name: str, kind: Kind) -> None:
    target = tmp_path / "made"
    recsys("plugins", "new", name, "--directory", target, "--kind", kind)
    ruff = [sys.executable, "-m", "ruff"]
    rules = "--select=A,B,C4,D,E,F,I,N,PT,RET,RUF,SIM,UP,W"
    for command in (
        [*ruff, "check", "--isolated", "--target-version=py311", rules, "--ignore=D203,D213,D400,D401,D415"],
        [*ruff, "format", "--isolated", "--check"],
    ):
        result = subprocess.run([*command, "."], cwd=target, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


def own_tests(directory: Path, site: Path) -> str:
    """What pytest prints for a package that is installed in ``site``; it must pass."""
    install_source(site, directory)
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(directory / "pyproject.toml")],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(directory / "src")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    return tests.stdout


@pytest.mark.slow
def test_new_passes_its_own_tests_and_works_like_any_other(recsys_process, generated: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert " passed" in own_tests(generated, site)
    path = os.pathsep.join([str(site), str(generated / "src")])
    (tmp_path / "x.csv").write_text("user_id,item_id\n1,10\n1,11\n2,10\n2,12\n3,11\n3,12\n", "utf-8")
    recsys_process("fit", "together", "--path", "x.csv", "-o", "bundle", PYTHONPATH=path)
    # A bundle needs no plugin to be run.
    outcome = recsys_process("recommend", "bundle", "--history", "10", "--json", RECSYS_PLUGINS="")
    assert {row["item_id"] for row in outcome.json["recommendations"]} == {11, 12}


@pytest.mark.slow
def test_a_new_encoder_passes_its_own_tests_and_trains(recsys, recsys_process, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    directory, site = tmp_path / "recsys-newest", tmp_path / "site"
    recsys("plugins", "new", "recsys-newest", "--kind", "encoder", "--directory", directory)
    assert "9 passed" in own_tests(directory, site)
    path = os.pathsep.join([str(site), str(directory / "src")])
    (tmp_path / "x.csv").write_text("user_id,item_id\n1,10\n1,11\n2,10\n2,12\n3,11\n3,12\n", "utf-8")
    settings = ["--set", 'model.user_encoder="newest"', "--set", "model.n_epochs=1"]
    recsys_process("fit", "two_tower", "--path", "x.csv", "-o", "bundle", *settings, PYTHONPATH=path)
    recsys_process("recommend", "bundle", "--history", "10", RECSYS_PLUGINS="")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_new_passes_mypy(recsys, tmp_path: Path, kind: Kind) -> None:
    generated = tmp_path / "made"
    recsys("plugins", "new", "recsys-together", "--kind", kind, "--directory", generated)
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")])}
    command = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", str(generated / "src")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=generated, env=environment, check=False)
    assert result.returncode == 0, result.stdout
