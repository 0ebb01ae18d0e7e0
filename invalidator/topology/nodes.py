"""What a file says, as values that know where they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in the file; both count from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """What is wrong with the file as YAML, and where."""

    mark: Mark
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `hidden` is a text that came from outside the file: nobody may show it."""

    value: str | int | float | bool | None
    mark: Mark
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of values."""

    mark: Mark
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Values by their keys; `keys` says where each key is written."""

    mark: Mark
    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def plain(node: Node | None) -> Any:
    """The values alone, as dicts, lists and scalars."""
    match node:
        case Mapping():
            return {key: plain(value) for key, value in node.items.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value
    return None


def child(node: Node | None, step: str | int) -> Node | None:
    """What is at one step below `node`; None if nothing is."""
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.items.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def scalars(node: Node | None) -> Iterator[Scalar]:
    """Every scalar at and below `node`."""
    match node:
        case Scalar():
            yield node
        case Mapping():
            for value in node.items.values():
                yield from scalars(value)
        case Sequence():
            for item in node.items:
                yield from scalars(item)
