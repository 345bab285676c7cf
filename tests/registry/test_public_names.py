"""Every package says what is public, and everything public is documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import recsys_core
from recsys_core.registry import HOOKS, hookspecs


def _packages() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(recsys_core.__path__, "recsys_core.") if module.ispkg]
    # The command line's packages hold commands, found by their place, and no names for others.
    return ["recsys_core", *(name for name in found if not name.startswith("recsys_core.cli"))]


PACKAGES = _packages()


def test_the_packages_of_the_design_are_there():
    expected = {"ops", "data", "metrics", "models", "registry", "export", "bundle", "runtime", "testing"}
    assert {f"recsys_core.{name}" for name in expected} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_what_is_there(package):
    module = importlib.import_module(package)
    names = module.__all__
    assert len(set(names)) == len(names)
    missing = [name for name in names if not hasattr(module, name)]
    assert missing == []
    assert set(names) == set(_star_import(package)), "what `import *` gives"


@pytest.mark.parametrize("package", PACKAGES)
def test_all_leaves_out_no_public_name(package):
    # A name that a package's __init__ binds without listing it is either private or forgotten.
    module = importlib.import_module(package)
    bound = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name not in {"annotations", "TYPE_CHECKING"}
        and (getattr(value, "__module__", None) or "").startswith(package)
    }
    assert bound <= set(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_is_documented(package):
    module = importlib.import_module(package)
    assert inspect.getdoc(module)
    public = [getattr(module, name) for name in module.__all__]
    undocumented = [
        value.__qualname__
        for value in public
        if (inspect.isclass(value) or inspect.isroutine(value)) and not (value.__doc__ or "").strip()
    ]
    undocumented += [
        f"{value.__qualname__}.{name}"
        for value in public
        if inspect.isclass(value)
        for name, member in vars(value).items()
        if not name.startswith("_") and inspect.isfunction(member) and not inspect.getdoc(getattr(value, name))
    ]
    assert undocumented == []


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_specified_and_documented_in_one_line(hook):
    documentation = inspect.getdoc(getattr(hookspecs, hook))
    assert documentation
    assert "\n" not in documentation
    assert documentation.endswith(".")


def test_every_specified_hook_is_collected():
    specified = {name for name in vars(hookspecs) if name.startswith("recsys_")}
    assert specified == set(HOOKS)


def _star_import(package: str) -> list[str]:
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)
    return [name for name in namespace if name != "__builtins__"]
