"""The JSON Schema of a topology, with the options of the backend types that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.topology.describe import Schema, transformed, with_units
from invalidator.topology.models import DRY_RUN, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator.options import BackendOptions

_INTERPOLATED = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "Filled in: ${ENV}, ${file:/path} or ${cred:name}.",
}
_SCALARS = {"string", "integer", "number", "boolean"}
_NARROW = {"pattern", "enum", "const", "minLength", "format"}
_OWN_WORDS = ("title", "default_text")
"""What pydantic or we have in a schema, and no editor needs."""


def schema(types: Mapping[str, type[BackendOptions]]) -> Schema:
    """The schema of a whole file. `types` are the backend types, each with its options' model."""
    whole = with_units(Layout.model_json_schema())
    defs: dict[str, Schema] = whole["$defs"]
    defs["BackendSpec"] = _backend(types)
    defs.pop("BackendOptions", None)
    for name, model in types.items():
        defs |= _options(name, model)
    defs["LaneSpec"] = {"anyOf": [{"type": "string", "description": "A backend's name."}, defs["LaneSpec"]]}
    worker = defs["WorkerSpec"]["properties"]
    worker["name"].pop("default")
    worker["allow"] = {"anyOf": [worker["allow"]["items"], worker["allow"]]}
    whole["properties"]["redis"] = {"$ref": "#/$defs/RedisSettings"}
    for change in (_tidied, _interpolable):
        whole = transformed(whole, change)
    whole["$defs"]["Interpolated"] = _INTERPOLATED
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "invalidator topology", **whole}


def _backend(types: Mapping[str, type[BackendOptions]]) -> Schema:
    """By `type`, and not any of all: an editor then names the setting that is wrong, and offers those of this type."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(types)}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/type.{name}"},
            }
            for name in sorted(types)
        ],
    }


def _options(name: str, model: type[BackendOptions]) -> dict[str, Schema]:
    """The definitions that one type needs, under names that no other type has."""
    options = with_units(model.model_json_schema(ref_template=f"#/$defs/type.{name}.{{model}}"))
    defs = {f"type.{name}.{part}": found for part, found in options.pop("$defs", {}).items()}
    dry_run = {"type": "boolean", "default": False, "description": DRY_RUN}
    options["properties"] = {"type": {"const": name}, **options.get("properties", {}), "dry_run": dry_run}
    options["required"] = ["type", *options.get("required", ())]
    return {f"type.{name}": options, **defs}


def _tidied(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key not in _OWN_WORDS}


def _interpolable(node: Schema) -> Schema:
    """The same, with `${…}` allowed for every value: it is filled in after the file is parsed, whatever the type."""
    if node.get("type") not in _SCALARS or (node["type"] == "string" and not set(node) & _NARROW):
        return node
    kept: Schema = {key: node[key] for key in ("description", "default", "examples") if key in node}
    rest = {key: value for key, value in node.items() if key not in kept}
    return {**kept, "anyOf": [rest, {"$ref": "#/$defs/Interpolated"}]}
