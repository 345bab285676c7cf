"""The example plugin as a distribution of its own, next to a wheel of the core: no change to the core is needed.

Both wheels are built and installed into a new environment.  Their third-party dependencies are not installed again but
seen through a path file that names the site-packages of the running environment; the test checks that neither package
under test comes from there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "plugins" / "example"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RECSYS_PLUGINS")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=outside | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with an environment, ``env``, that has both wheels, and a table of visits."""
    home = tmp_path_factory.mktemp("example")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    wheel = (*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels")
    # A build folder of its own leaves that of an editable installation alone.
    run(
        *wheel, "--no-build-isolation", f"--config-settings=build-dir={home / 'build'}", ROOT,
        cwd=home, CMAKE_BUILD_PARALLEL_LEVEL="2",
    )  # fmt: skip
    source = shutil.copytree(EXAMPLE, home / "source")
    run(*wheel, source, cwd=home)
    venv.create(home / "env", with_pip=False)
    python = home / "env" / "bin" / "python"
    run(
        *pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", *(home / "wheels").glob("*.whl"),
        cwd=home,
    )  # fmt: skip
    target = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(target) / "third_party.pth").write_text("\n".join(sorted(outer)) + "\n")
    rng = np.random.default_rng(0)
    visits = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in np.repeat(np.arange(80), 12)],
            # Everybody walks the same circle of 30 items from a start of their own.
            "item_id": np.concatenate([(rng.integers(30) + np.arange(12)) % 30 for _ in range(80)]),
            "datetime": np.arange(960),
        }
    )
    visits.write_csv(home / "visits.csv")
    return home


@pytest.fixture(scope="module")
def bundle(home) -> Path:
    run(home / "env/bin/recsys", "fit", "next_item", "--path", "visits.csv", "-o", "bundle", cwd=home)
    return home / "bundle"


def test_both_packages_come_from_their_wheels(home) -> None:
    script = "import recsys_core._core, recsys_classic, recsys_example as e; print(recsys_core._core.__file__); "
    script += "print(recsys_core.__file__); print(recsys_classic.__file__); print(e.__file__)"
    places = run(home / "env/bin/python", "-c", script, cwd=home).split()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(home / "env") for place in places), places


def test_the_plugin_is_found_by_its_entry_point(home) -> None:
    def names(**environment: str) -> dict[str, str]:
        listed = json.loads(run(home / "env/bin/recsys", "models", "list", "--json", cwd=home, **environment))
        return {entry["name"]: entry["distribution"] for entry in listed["entries"]}

    assert names()["next_item"] == "recsys-core-example 0.1.0"
    without = names(RECSYS_PLUGINS="-example")
    assert "next_item" not in without
    assert "als" in without


def test_evaluate(home) -> None:
    command = ("evaluate", "next_item", "--path", "visits.csv", "--split", "leave_last", "--k", "5", "--json")
    result = json.loads(run(home / "env/bin/recsys", *command, cwd=home))
    # All that follows within the window and was not visited before is the next three places of the circle.
    assert result["values"]["recall@5"] == 1.0


@pytest.mark.parametrize("backend", ["onnx", "core"])
def test_recommend_without_the_plugin(home, bundle, backend) -> None:
    command = ("recommend", bundle, "--history", "4,5,6", "--k", "3", "--backend", backend, "--json")
    answer = json.loads(run(home / "env/bin/recsys", *command, cwd=home, RECSYS_PLUGINS=""))
    assert [row["item_id"] for row in answer["recommendations"]] == [7, 8, 9]


def test_export_and_serve(home, bundle) -> None:
    exported = json.loads(run(home / "env/bin/recsys", "export", bundle, "next_item.onnx", "--json", cwd=home))
    assert exported["parity"]["max_error"] <= exported["parity"]["tolerance"]
    assert exported["bytes"] == (home / "next_item.onnx").stat().st_size
    script = (
        "import sys; from recsys_core import runtime; model = runtime.load('bundle'); "
        "print(model.recommend(histories=[[4, 5, 6]], k=1)['item_id'].to_list(), 'recsys_example' in sys.modules)"
    )
    assert run(home / "env/bin/python", "-c", script, cwd=home).strip() == "[7] False"


def test_its_own_tests_pass(home) -> None:
    output = run(home / "env/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=home / "source")
    assert " passed" in output
