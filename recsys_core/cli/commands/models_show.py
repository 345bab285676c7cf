"""``recsys models show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.commands.models_list import Kind
from recsys_core.cli.output import Output

if TYPE_CHECKING:
    from recsys_core.models import Config

__all__ = ["register"]

_BOUNDS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "multipleOf": "multiple of {}",
}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "show")(models_show)


def models_show(
    out: Output,
    name: Annotated[str, typer.Argument(help="A model's name, or distribution:name.")],
    kind: Annotated[Kind, typer.Option("--kind", help="What it is.")] = Kind.recommender,
) -> None:
    """Show a model, or another thing that a plugin offers, and its settings: name, type, default, range and meaning.

    Any of them can be given to `fit`, `evaluate` and `tune` as `--set model.NAME=VALUE`, and to `compare` as
    `--set models.MODEL.NAME=VALUE`.
    """
    from recsys_core.registry import default_registry

    entry = default_registry().find(name, kind=kind.value)
    config = entry.config_class()
    settings = [] if config is None else _settings(config)
    out.data(
        {
            "kind": kind.value,
            "name": entry.spec.name,
            "summary": entry.spec.summary,
            "distribution": entry.distribution,
            "version": entry.version,
            "factory": entry.spec.factory,
            "capabilities": sorted(entry.spec.capabilities),
            "settings": settings,
        }
    )
    out.heading(f"{entry.spec.name}: {entry.spec.summary}" if entry.spec.summary else entry.spec.name)
    out.fields(
        {
            "from": f"{entry.distribution} {entry.version}".strip(),
            "class": entry.spec.factory,
            "can": sorted(entry.spec.capabilities) or None,
        }
    )
    if settings:
        out.table([{**setting, "default": _shown(setting["default"])} for setting in settings])
    else:
        out.text("  It has no settings.")


def _settings(config: type[Config]) -> list[dict[str, Any]]:
    schema = config.model_json_schema()
    definitions = schema.get("$defs", {})
    return [
        {
            "name": name,
            "type": _type(_resolved(field, definitions), definitions),
            "default": field.get("default"),
            "range": _range(_resolved(field, definitions)),
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _resolved(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = field.get("$ref", "").removeprefix("#/$defs/")
    return {**definitions[reference], **field} if reference else field


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " | ".join(_type(_resolved(option, definitions), definitions) for option in field["anyOf"])
    if "enum" in field:
        return " | ".join(map(_shown, field["enum"]))
    if "const" in field:
        return _shown(field["const"])
    if "prefixItems" in field:
        return f"[{', '.join(_type(_resolved(item, definitions), definitions) for item in field['prefixItems'])}]"
    if field.get("type") == "array" and "items" in field:
        return f"[{_type(_resolved(field['items'], definitions), definitions)}, ...]"
    return str(field.get("type", "any"))


def _range(field: dict[str, Any]) -> str:
    options = field.get("anyOf", [field])
    bounds = [words.format(option[key]) for option in options for key, words in _BOUNDS.items() if key in option]
    return ", ".join(bounds)


def _shown(value: Any) -> str:
    """A value as TOML writes it, which is how ``--set`` takes it."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, float) else json.dumps(value)
