"""What the wheel holds, and what it costs to import it."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "polars",
    "scipy",
    "recsys_classic",
    "recsys_datasets",
    "recsys_neural",
)


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("statement", ["import recsys_core", "import recsys_core.registry"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


def test_listing_models_imports_no_model() -> None:
    loaded = loaded_by("import recsys_core; recsys_core.list_models()")
    assert "recsys_classic.plugin" in loaded
    assert "recsys_classic.als" not in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "polars", "scipy"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A build folder of its own leaves that of an editable installation alone.
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder)]
    command += [f"--config-settings=build-dir={folder / 'build'}", str(ROOT)]
    subprocess.run(command, check=True, timeout=900, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_what_it_must_and_no_more(wheel: Path) -> None:
    assert wheel.stat().st_size < 10 << 20
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(next(n for n in names if n.endswith("/METADATA"))))
    for needed in (
        "recsys_core/py.typed",
        "recsys_core/_core.pyi",
        "recsys_core/cli/template/recommender/model.py.tmpl",
    ):
        assert needed in names
    assert any(name.startswith("recsys_core/_core.") and name.endswith((".so", ".pyd")) for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "recsys_core",
        "recsys_classic",
        "recsys_datasets",
        "recsys_neural",
    }
    assert not [name for name in names if name.endswith((".cpp", ".hpp", ".pyc"))]
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra" not in line]
    assert not any(line.startswith("torch") for line in required)


@pytest.mark.slow
def test_the_wheel_works_where_no_compiler_is(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "-q", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    # Third-party packages are seen through a path file instead of being installed again.
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    (Path(target) / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": str(python.parent), "CC": "/bin/false", "CXX": "/bin/false"}
    script = (
        "import recsys_core as r, recsys_core._core as c; print(c.__file__); "
        "i = r.Interactions.from_arrays([1, 1, 2, 3], ['a', 'b', 'a', 'b']); "
        "print(r.create('als', n_factors=2).fit(i).recommend(2, k=1)['item_id'][0])"
    )
    done = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    place, answer = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path / "env")
    assert answer == "b"
