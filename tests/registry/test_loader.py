"""One bad plugin hurts nobody else, and what is wrong with it is said."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from recsys_core.registry import ENTRY_POINT_GROUP, HOOKS, PluginRecord, Registry
from recsys_core.registry.loader import load_plugin

GOOD = "RecommenderSpec('good', 'good_models:Good')"


def record(registry: Registry, distribution: str) -> PluginRecord:
    (found,) = [plugin for plugin in registry.plugins if plugin.distribution == distribution]
    return found


def names(registry: Registry) -> list[str]:
    return [entry.spec.name for entry in registry.entries()]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("def broken(:", "SyntaxError: invalid syntax (bad_plugin.py, line 4)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("@hookimpl\ndef recsys_recommenders():\n    raise OSError('no disk')", "OSError: no disk"),
        ("@hookimpl\ndef recsys_recommenders():\n    import sys\n    sys.exit('bye')", "SystemExit: bye"),
        (
            "@hookimpl\ndef recsys_recommenders():\n    return RecommenderSpec('a', 'b:C')",
            "bad:bad.recsys_recommenders: expected a list of RecommenderSpec, got RecommenderSpec.",
        ),
        (
            "@hookimpl\ndef recsys_recommenders():\n    pass",
            "bad:bad.recsys_recommenders: expected a list of RecommenderSpec, got NoneType.",
        ),
        (
            "@hookimpl\ndef recsys_recommenders():\n    return 'als'",
            "bad:bad.recsys_recommenders: expected a list of RecommenderSpec, got str.",
        ),
        (
            "@hookimpl\ndef recsys_recommenders():\n    return [MetricSpec('a', 'b:C')]",
            "bad:bad.recsys_recommenders: expected RecommenderSpec in the list, got MetricSpec.",
        ),
        (
            "@hookimpl\ndef recsys_metrics():\n    return [MetricSpec('a', 'b:C'), MetricSpec('a', 'b:D')]",
            "bad:bad.recsys_metrics: expected each name once, got a more than once.",
        ),
        (
            "@hookimpl\ndef recsys_recomenders():\n    return []",
            "bad:bad: unknown hook recsys_recomenders; did you mean recsys_recommenders?",
        ),
        ("@hookimpl\ndef zzz():\n    return []", f"bad:bad: unknown hook zzz; the hooks are {', '.join(HOOKS)}."),
        (
            "def recsys_recommenders():\n    return []",
            "bad:bad.recsys_recommenders: is not marked; decorate it with @recsys_core.registry.hookimpl.",
        ),
        (
            "@hookimpl\ndef recsys_recommenders():\n    return [RecommenderSpec('Bad Name', 'b:C')]",
            "name: expected lower-case letters, digits, '-' and '_', a letter first, got 'Bad Name'.",
        ),
    ],
)
def test_a_broken_plugin_is_recorded_and_the_rest_goes_on(site, source, error):
    site.recommenders("aa-before", "RecommenderSpec('before', 'good_models:Good')")
    site.plugin("bad", source)
    site.recommenders("zz-after", "RecommenderSpec('after', 'good_models:Good')")
    registry = Registry()
    bad = record(registry, "bad")
    assert (bad.status, bad.error, bad.specs) == ("failed", error, ())
    assert "Traceback (most recent call last)" in bad.traceback
    assert {"before", "after"} <= set(names(registry))


def test_a_hook_with_unknown_parameters_is_a_fault_of_its_plugin(site):
    site.plugin("bad", "@hookimpl\ndef recsys_recommenders(config):\n    return []")
    bad = record(Registry(), "bad")
    assert bad.status == "failed"
    assert "config" in bad.error


def test_ctrl_c_during_an_import_ends_the_host(site):
    site.plugin("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry()


def test_a_malformed_entry_point_is_a_fault_of_its_plugin(site):
    site.distribution("bad", {"bad": "not a module !!"})
    bad = record(Registry(), "bad")
    assert bad.status == "failed"
    assert bad.error == "bad:bad: expected a module as entry point, got 'not a module !!'."


def test_a_distribution_without_metadata_still_loads(site):
    site.module("bare_plugin", "from recsys_core.registry import RecommenderSpec, hookimpl\n")
    site.distribution("bare", {"bare": "bare_plugin"}, metadata=False)
    bare = record(Registry(), "(none)")
    assert (bare.name, bare.status, bare.version) == ("bare", "loaded", "")


def test_an_entry_point_made_by_hand_loads(site):
    site.module("hand_plugin", "")
    plugin = load_plugin(EntryPoint("hand", "hand_plugin", ENTRY_POINT_GROUP))
    assert (plugin.status, plugin.distribution, plugin.module) == ("loaded", "(none)", "hand_plugin")


def test_an_entry_point_may_name_an_object_in_a_module(site):
    source = """
    class Plugin:
        @hookimpl
        def recsys_recommenders(self):
            return [RecommenderSpec("good", "good_models:Good")]

    plugin = Plugin()
    """
    site.plugin("objects", source)
    (site.folder / "objects-1.0.dist-info" / "entry_points.txt").write_text(
        "[recsys_core.plugins]\nobjects = objects_plugin:plugin\n"
    )
    found = record(Registry(), "objects")
    assert found.status == "loaded"
    assert found.module == "objects_plugin"
    assert [spec.name for spec in found.specs] == ["good"]


def test_two_distributions_with_the_same_entry_point_name_both_load(site):
    site.recommenders("one", "RecommenderSpec('first', 'm:C')", point="models")
    site.recommenders("two", "RecommenderSpec('second', 'm:C')", point="models")
    registry = Registry()
    assert record(registry, "one").status == record(registry, "two").status == "loaded"
    assert {"first", "second"} <= set(names(registry))


def test_the_order_of_plugins_is_that_of_their_names(site):
    for distribution in ("cc", "aa", "bb"):
        site.recommenders(distribution, f"RecommenderSpec('{distribution}', 'm:C')")
    found = [plugin.distribution for plugin in Registry().plugins]
    assert found == sorted(found)
    assert {"aa", "bb", "cc"} <= set(found)


@pytest.mark.parametrize("api", [0, 2])
def test_a_spec_of_another_interface_is_refused_and_its_neighbours_go_on(site, api):
    site.recommenders("mixed", f"RecommenderSpec('strange', 'm:C', api={api})", GOOD)
    mixed = record(Registry(), "mixed")
    assert mixed.status == "loaded"
    assert [spec.name for spec in mixed.specs] == ["good"]
    assert mixed.refused == (
        (
            f"strange: written for plugin interface {api}, this recsys-core accepts 1 to 1; "
            "install a matching version of the plugin or of recsys-core."
        ),
    )


@pytest.mark.parametrize(
    ("setting", "loaded"),
    [
        (None, {"my-one", "two"}),
        ("", set()),
        (" , ", set()),
        ("one-models", {"my-one"}),
        ("my-one", {"my-one"}),
        ("My_One", {"my-one"}),
        (" two , my-one ", {"my-one", "two"}),
        ("-two", {"my-one"}),
        ("-one-models", {"two"}),
        ("two,-two", set()),
        ("-two,my-one", {"my-one"}),
        ("nobody", set()),
    ],
)
def test_recsys_plugins_chooses(site, monkeypatch, setting, loaded):
    site.recommenders("my-one", "RecommenderSpec('first', 'm:C')", point="one-models")
    site.recommenders("two", "RecommenderSpec('second', 'm:C')")
    if setting is not None:
        monkeypatch.setenv("RECSYS_PLUGINS", setting)
    registry = Registry()
    statuses = {plugin.distribution: plugin.status for plugin in registry.plugins}
    assert {name for name in ("my-one", "two") if statuses[name] == "loaded"} == loaded
    assert {statuses[name] for name in {"my-one", "two"} - loaded} <= {"disabled"}


def test_a_disabled_plugin_is_not_imported(site, monkeypatch):
    site.plugin("bad", "raise SystemExit")
    monkeypatch.setenv("RECSYS_PLUGINS", "-bad")
    assert record(Registry(), "bad").status == "disabled"


def test_every_kind_of_spec_is_collected(site):
    source = "".join(
        f"@hookimpl\ndef {hook}():\n    return [{spec.__name__}('thing', 'm:C')]\n" for hook, spec in HOOKS.items()
    )
    site.plugin("all-kinds", source)
    registry = Registry()
    for spec in HOOKS.values():
        assert registry.find("all-kinds:thing", spec.kind).spec == spec("thing", "m:C")
