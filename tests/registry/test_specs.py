"""Specs are checked when they are made."""

from __future__ import annotations

import dataclasses

import pytest

from recsys_core.errors import PluginError
from recsys_core.registry import HOOKS, RecommenderSpec, resolve


@pytest.mark.parametrize("name", ["", "Als", "1als", "my als", "als!", "als\n", "-als", "äls"])
def test_a_name_is_lower_case_words(name):
    with pytest.raises(PluginError, match="name: expected lower-case letters, digits, '-' and '_', a letter first"):
        RecommenderSpec(name, "m:C")


@pytest.mark.parametrize("target", ["", "m", "m.C", "m:", ":C", "m:C.D", "m/n:C", "m:C ", "m..n:C", "1m:C"])
def test_a_factory_is_a_module_and_an_attribute(target):
    with pytest.raises(PluginError, match=r"als\.factory: expected 'package\.module:Attribute', got "):
        RecommenderSpec("als", target)


def test_a_config_is_one_too_but_may_be_empty():
    assert RecommenderSpec("als", "m:C").config == ""
    with pytest.raises(PluginError, match=r"als\.config: expected 'package\.module:Attribute', got 'm'\."):
        RecommenderSpec("als", "m:C", "m")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, r"None\.name: expected a string, got None\."),
        ({"factory": int}, r"'als'\.factory: expected a string, got <class 'int'>\."),
        ({"config": None}, r"'als'\.config: expected a string, got None\."),
        ({"summary": 3}, r"'als'\.summary: expected a string, got 3\."),
        ({"api": "1"}, r"als\.api: expected an integer, got '1'\."),
        ({"api": True}, r"als\.api: expected an integer, got True\."),
        ({"capabilities": "cold-start"}, r"als\.capabilities: expected a set of words, got the string 'cold-start'\."),
    ],
)
def test_fields_of_another_type_are_refused(fields, message):
    with pytest.raises(PluginError, match=message):
        RecommenderSpec(**{"name": "als", "factory": "m:C", **fields})


def test_capabilities_may_be_given_as_a_list():
    spec = RecommenderSpec("als", "m:C", capabilities=["a", "b", "a"])
    assert spec.capabilities == frozenset({"a", "b"})
    assert hash(spec) == hash(RecommenderSpec("als", "m:C", capabilities=frozenset({"a", "b"})))


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RecommenderSpec("als", "m:C").name = "bpr"


def test_each_hook_has_its_own_kind():
    kinds = [spec.kind for spec in HOOKS.values()]
    assert len(set(kinds)) == len(kinds)
    assert "" not in kinds


def test_resolve_gives_the_attribute():
    assert resolve("recsys_core.errors:PluginError") is PluginError


@pytest.mark.parametrize(
    ("target", "cause", "message"),
    [
        ("no_such_module_here:C", ModuleNotFoundError, "No module named 'no_such_module_here'"),
        ("recsys_core.errors:NoSuch", AttributeError, "has no attribute 'NoSuch'"),
    ],
)
def test_resolve_says_what_is_missing(target, cause, message):
    with pytest.raises(PluginError, match=f"{target}: cannot be imported .*{message}") as caught:
        resolve(target)
    assert isinstance(caught.value.__cause__, cause)


def test_a_model_module_that_exits_is_a_plugin_error(site):
    site.module("exits_at_import", "raise SystemExit(1)")
    with pytest.raises(PluginError, match=r"exits_at_import:C: cannot be imported \(SystemExit: 1\)"):
        resolve("exits_at_import:C")
