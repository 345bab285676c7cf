"""Checks of the plugin that registers a model."""

from __future__ import annotations

import json
import subprocess
import sys

from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.subject import Subject

__all__ = ["check_inert_plugin"]

# Prints whether importing one module imports another.
_PROBE = """
import importlib, json, sys
path, plugin, model = json.loads(sys.argv[1])
sys.path[:] = path
importlib.import_module(plugin)
print(json.dumps(model in sys.modules))
"""


def check_inert_plugin(subject: Subject) -> None:
    """Importing the plugin does not import the model, so that listing models stays fast."""
    if subject.entry is None:
        raise NotApplicable("the class was given, not a registered name")
    plugin, model = subject.entry.module, subject.entry.spec.factory.partition(":")[0]
    arguments = json.dumps([sys.path, plugin, model])
    run = subprocess.run(
        [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, check=False, timeout=120
    )
    if run.returncode:
        raise CheckFailedError(f"plugin {plugin}: cannot be imported in a new interpreter: {run.stderr.strip()[-500:]}")
    expect(
        json.loads(run.stdout.splitlines()[-1]) is False,
        f"plugin {plugin}: importing it imports {model}; name the model in its spec only, as a string",
    )
