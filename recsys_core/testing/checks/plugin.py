"""Checks of the plugin that registers something, and of the settings that it names for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from recsys_core.errors import ConfigError
from recsys_core.models import Config
from recsys_core.registry import Entry
from recsys_core.testing.outcome import CheckFailedError, NotApplicable, expect
from recsys_core.testing.subject import Registered

__all__ = ["check_inert_plugin", "expect_settings", "expect_strict"]

# Prints whether importing one module imports another.
_PROBE = """
import importlib, json, sys
path, plugin, module = json.loads(sys.argv[1])
sys.path[:] = path
importlib.import_module(plugin)
print(json.dumps(module in sys.modules))
"""


def check_inert_plugin(subject: Registered) -> None:
    """Importing the plugin does not import what it names, so that listing stays fast."""
    if subject.entry is None:
        raise NotApplicable("the class was given, not a registered name")
    plugin, module = subject.entry.module, subject.entry.spec.factory.partition(":")[0]
    arguments = json.dumps([sys.path, plugin, module])
    run = subprocess.run(
        [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, check=False, timeout=120
    )
    if run.returncode:
        raise CheckFailedError(f"plugin {plugin}: cannot be imported in a new interpreter: {run.stderr.strip()[-500:]}")
    expect(
        json.loads(run.stdout.splitlines()[-1]) is False,
        f"plugin {plugin}: importing it imports {module}; name what is there in its spec only, as a string",
    )


def expect_settings(config: Config, entry: Entry | None) -> None:
    """Fail unless each setting is described, and the plugin names the class of the settings."""
    used = type(config)
    bare = [name for name, setting in used.model_fields.items() if not setting.description]
    expect(not bare, f"config: expected a description for every setting, got none for {', '.join(bare)}")
    if entry:
        named = entry.config_class() or Config
        expect(named is used, f"config: the plugin names {named.__name__}, what it makes uses {used.__name__}")


def expect_strict(make: Callable[..., Any]) -> None:
    """Fail unless JSON keeps the settings that ``make()`` made something with, and it refuses an unknown one."""
    config = make().config
    read = type(config).model_validate_json(config.model_dump_json())
    expect(read == config, f"config: expected {config!r} after JSON, got {read!r}")
    try:
        make(no_such_setting=1)
    except ConfigError:
        return
    raise CheckFailedError("config: expected a ConfigError for no_such_setting, got none")
