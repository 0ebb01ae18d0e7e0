"""The settings of a model as rows: name, type, default, meaning. What pages, tables and examples are made of."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter

from invalidator.options import Duration, Size, format_duration, format_size
from invalidator.topology.scalars import Ambiguous, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

    from invalidator.options import BackendOptions

_DURATION = TypeAdapter(Duration).json_schema()["pattern"]
_SIZE = TypeAdapter(Size).json_schema()["pattern"]
_PLAIN = re.compile(r"[A-Za-z0-9/]([A-Za-z0-9_./:+-]*[A-Za-z0-9_/])?")
_NAMED = {_DURATION: "duration", _SIZE: "size"}
_FORMATS = {"password": "secret", "path": "path", "file-path": "path", "directory-path": "path"}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}

Schema = dict[str, Any]


class Row(NamedTuple):
    """One setting; all four are texts for a person. `default` is `required` where there is none."""

    setting: str
    type: str
    default: str
    meaning: str


def described(model: type[BaseModel], *, parts: bool = True) -> list[Row]:
    """The settings of a model in their order; with `parts`, those of its parts as `part.setting`."""
    schema = with_units(model.model_json_schema())
    return list(_rows(schema, schema.get("$defs", {}) if parts else {}, ""))


def transformed(node: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A schema with `change` applied to every schema in it, the innermost first; never to a mapping of names."""
    new: Schema = {}
    for key, value in node.items():
        if key in {"properties", "$defs"}:
            new[key] = {name: transformed(below, change) for name, below in value.items()}
        elif key in {"anyOf", "allOf", "oneOf", "prefixItems"}:
            new[key] = [transformed(below, change) for below in value]
        elif key in {"items", "additionalProperties", "then"} and isinstance(value, dict):
            new[key] = transformed(value, change)
        else:
            new[key] = value
    return change(new)


def with_units(schema: Schema) -> Schema:
    """The defaults of durations and sizes as an operator writes them; pydantic has the bare number."""
    return transformed(schema, _with_unit)


def _with_unit(node: Schema) -> Schema:
    default = node.get("default")
    if isinstance(default, int | float) and not isinstance(default, bool):
        patterns = {option.get("pattern") for option in (node, *node.get("anyOf", ()))}
        if _DURATION in patterns:
            return node | {"default": format_duration(default)}
        if _SIZE in patterns:
            return node | {"default": format_size(int(default))}
    return node


def meaning(field: Schema, defs: dict[str, Schema]) -> str:
    """A field's description; pydantic leaves it out where it is that of the model it holds."""
    target = defs.get(field.get("$ref", "").rpartition("/")[2], {})
    return sentence(field.get("description") or target.get("description", ""))


def sentence(text: str) -> str:
    """With a capital and a full stop; plugins may write a phrase."""
    text = " ".join(text.split())
    if text.partition(" ")[0].isalpha():  # and not `redis://`
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "…")) or not text else f"{text}."


def kinds_text(model: type[BackendOptions]) -> str:
    """Which kinds of target a type can purge. It may depend on its options: these are the ones with the least said."""
    try:
        options = model.model_construct()
        kinds, soft = sorted(options.kinds()), sorted(options.soft_kinds())
    except Exception:  # noqa: BLE001  a model may need more to answer than its defaults
        return "What it can purge depends on its options."
    return f"Purges {', '.join(kinds)}; softly {', '.join(soft) or 'none'}."


def flow(value: Any) -> str:
    """A value as it can be written in one line of YAML."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(flow, value)) + "]"
        case str() if is_plain(value):
            return value
    return json.dumps(value, ensure_ascii=False)


def is_plain(text: str) -> bool:
    """Whether a text needs no quotes, anywhere, for any reader of YAML."""
    try:
        return _PLAIN.fullmatch(text) is not None and resolve(text) == text
    except Ambiguous:
        return False


def _rows(schema: Schema, defs: dict[str, Schema], prefix: str) -> Iterator[Row]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        below = _part(field, defs)
        optional = "anyOf" in field
        if below is None or optional:
            default = "required" if name in required else _default(field)
            yield Row(prefix + name, _type(field, defs), default, meaning(field, defs))
        if below is not None:
            yield from _rows(below, defs, f"{prefix}{name}.")


def _part(field: Schema, defs: dict[str, Schema]) -> Schema | None:
    """The model that a field holds, or holds if it is not null."""
    for option in (field, *field.get("anyOf", ())):
        if "$ref" in option:
            target = defs.get(option["$ref"].rpartition("/")[2], {})
            return target if "properties" in target else None
    return None


def _type(field: Schema, defs: dict[str, Schema]) -> str:
    if "$ref" in field:
        return _type(defs.get(field["$ref"].rpartition("/")[2], {"type": "object"}), defs)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option, defs) for option in field["anyOf"]))
    if "enum" in field or "const" in field:
        return ", ".join(str(flow(value)) for value in field.get("enum", [field.get("const")]))
    if "items" in field:
        return f"list of {_type(field['items'], defs)}"
    if field.get("type") == "object":
        more = field.get("additionalProperties")
        return f"mapping to {_type(more, defs)}" if isinstance(more, dict) else "mapping"
    known = _NAMED.get(field.get("pattern", "")) or _FORMATS.get(field.get("format", ""))
    return known or _TYPES.get(str(field.get("type")), "any")


def _default(field: Schema) -> str:
    if "default_text" in field:
        return str(field["default_text"])
    return flow(field["default"]) if "default" in field and "$ref" not in field else "none"
