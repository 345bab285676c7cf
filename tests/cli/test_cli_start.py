"""The command tree: help that is quick and complete."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recsys_core.cli.failures import EXIT_CODES, INTERRUPTED

HEAVY = {"torch", "onnx", "onnxruntime", "pandas", "pyarrow", "polars", "scipy", "pluggy", "safetensors"}
PLUGINS = {"recsys_classic", "recsys_datasets", "recsys_neural"}
COMMANDS = (
    "quickstart",
    "fit",
    "evaluate",
    "compare",
    "recommend",
    "export",
    "data audit",
    "data split",
    "models list",
    "models show",
    "plugins list",
    "plugins check",
    "plugins new",
    "doctor",
)
DUMP = """
import json, sys
sys.argv = ["recsys", *sys.argv[1:]]
from recsys_core.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("fit", "--help"), ("--version",), ("models",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    result = subprocess.run([sys.executable, "-c", DUMP, *arguments], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(result.stderr)}
    assert "typer" in loaded
    assert not loaded & (HEAVY | PLUGINS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(recsys, command: str) -> None:
    text = recsys(*command.split(), "--help").stdout
    assert f"{command} [OPTIONS]" in " ".join(text.split())
    for option in ("--json", "--quiet", "--traceback"):
        assert option in text


def test_root_help_lists_all_commands_and_exit_codes(recsys) -> None:
    text = " ".join(recsys("--help").stdout.split())
    for command in COMMANDS:
        assert command.split()[0] in text
    for code in {*EXIT_CODES.values(), INTERRUPTED}:
        assert f"{code} " in text.partition("Exit codes")[2]


@pytest.mark.parametrize("arguments", [(), ("data",), ("models",), ("plugins",)])
def test_a_group_alone_prints_its_help(recsys, arguments: tuple[str, ...]) -> None:
    assert "Usage" in recsys(*arguments).stdout


def test_version(recsys) -> None:
    from recsys_core import __version__

    assert recsys("--version").stdout == f"recsys-core {__version__}\n"
