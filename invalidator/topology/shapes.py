"""A part of the file becomes a model; what does not fit is told in the words of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from invalidator.plugins import suggestion
from invalidator.topology.nodes import child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path as FilePath

    from pydantic_core import ErrorDetails

    from invalidator.topology.findings import Findings
    from invalidator.topology.nodes import Path

Model = TypeVar("Model", bound=BaseModel)

_GIVEN = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a mapping"}

_MUST_BE = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LENGTHS = {
    "too_short": ("at least", "entry", "entries"),
    "too_long": ("at most", "entry", "entries"),
    "string_too_short": ("at least", "character", "characters"),
    "string_too_long": ("at most", "character", "characters"),
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def read(model: type[Model], raw: object, path: Path, findings: Findings, base: FilePath) -> Model | None:
    """`raw`, found at `path`, as a model; None if anything is wrong, and then `findings` has all of it."""
    try:
        return model.model_validate(raw, context={"base": base})
    except ValidationError as error:
        _report(model, error.errors(include_url=False), path, findings)
        return None


def salvage(
    model: type[Model], raw: object, base: FilePath, fallback: Mapping[str, object] | None = None
) -> Model | None:
    """`raw` as a model, without the settings that are wrong: the others are checked against the rest of the file then.

    `fallback` stands in for what is missing then. None when nothing can be made of it.
    """
    for _ in range(2):
        try:
            return model.model_validate(raw, context={"base": base})
        except ValidationError as error:
            if not isinstance(raw, dict):
                return None
            wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
            raw = {**(fallback or {}), **{key: value for key, value in raw.items() if key not in wrong}}
    return None


def _report(model: type[BaseModel], details: Sequence[ErrorDetails], path: Path, findings: Findings) -> None:
    texts: dict[tuple[Path, bool], list[str]] = {}
    for detail in details:
        if detail["type"] == "too_short" and any(_is_below(other["loc"], detail["loc"]) for other in details):
            continue  # pydantic does not count the entries that are wrong
        missing, unknown = detail["type"] == "missing", detail["type"] == "extra_forbidden"
        loc = detail["loc"]
        # A model's own steps, such as the members of a union or what a name was turned into, are not in the file.
        at = _in_file(findings, path, loc[:-1] if missing else loc) + (loc[-1:] if missing else ())
        text = f"unknown setting{suggestion(str(loc[-1]), _names(model, loc[:-1]))}" if unknown else words(detail)
        known = texts.setdefault((at, unknown), [])
        if text not in known:
            known.append(text)
    for (at, unknown), several in texts.items():
        findings.error(at, ", or ".join(several), "key" if unknown else "value")


def _is_below(loc: Path, other: Path) -> bool:
    return len(loc) > len(other) and loc[: len(other)] == other


def _in_file(findings: Findings, path: Path, loc: Path) -> Path:
    node = findings.at(path)
    for step in loc:
        below = child(node, step)
        if below is not None:
            node, path = below, (*path, step)
    return path


def words(detail: ErrorDetails) -> str:
    """One of pydantic's errors as what the operator should do."""
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}{_but_is(kind, given)}"
    if kind in _LENGTHS:
        bound, one, many = _LENGTHS[kind]
        number = context["min_length" if bound == "at least" else "max_length"]
        return f"must have {bound} {number} {one if number == 1 else many}"
    if kind in _BOUNDS:
        bound, name = _BOUNDS[kind]
        return f"must be {bound} {context[name]:g}"
    if kind in {"literal_error", "enum"}:
        expected = str(context["expected"])
        names = expected.replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {expected}{suggestion(given, names) if isinstance(given, str) else ''}"
    texts = {"missing": "is missing", "value_error": str(context.get("error"))}
    return texts.get(kind) or _reworded(detail["msg"])


def _reworded(message: str) -> str:
    message = message.replace("Input should be", "must be", 1).replace("String should", "must", 1)
    return message[:1].lower() + message[1:]


def _but_is(kind: str, given: object) -> str:
    if given is None:
        return ", and is empty"
    name = _GIVEN.get(type(given))
    if name is None or (isinstance(given, str) and kind.endswith("parsing")):
        return ""
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f", and is {name}: put it in quotes"
    return f", and is {name}"


def _names(model: type[BaseModel], loc: Path) -> set[str]:
    """The settings that the model at `loc` below `model` knows."""
    models = {model}
    for step in loc:
        fields = [field for each in models if (field := each.model_fields.get(str(step))) is not None]
        below = {found for field in fields for found in _models_in(field.annotation)}
        models = below or models  # an index, or the step of a union, is no field
    return {field.alias or name for each in models for name, field in each.model_fields.items()}


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in get_args(annotation) for model in _models_in(argument)}
