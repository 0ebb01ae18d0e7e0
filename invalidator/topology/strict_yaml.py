"""The topology's syntax: YAML without its traps, and with a place in the file for every value.

Values are composed here from the parser's *events*. PyYAML's own composers recurse as deeply as the file asks them to
(the one in C takes the process down with it at 50,000 brackets), read `no` as False, `012` as 10 and `12:30:00` as
45000, and silently keep the last of two equal keys.
"""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from invalidator.topology.nodes import Fault, Mapping, Mark, Node, Path, Scalar, Sequence
from invalidator.topology.scalars import Ambiguous, resolve

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 20_000
"""Counted after aliases are expanded: ten lines of them can stand for a billion values."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class SyntaxFault(Exception):  # noqa: N818  what it carries is a fault; the caller makes the error of it
    """The file cannot be read any further than this."""

    def __init__(self, mark: Mark, path: Path, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(mark, path, text)


def decode(data: bytes) -> str:
    """The text of a file; raises SyntaxFault for what no text file contains."""
    if len(data) > MAX_BYTES:
        raise SyntaxFault(Mark(1, 1), (), f"the file is larger than {MAX_BYTES >> 20} MiB: this cannot be a topology")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        mark = _mark_of(data[: error.start].decode("utf-8", "replace"))
        raise SyntaxFault(mark, (), f"the byte 0x{data[error.start]:02x} is not UTF-8: is this a text file?") from None
    text = text.removeprefix("\ufeff")
    if odd := _UNPRINTABLE.search(text):
        mark = _mark_of(text[: odd.start()])
        raise SyntaxFault(mark, (), f"the character U+{ord(odd[0]):04X} cannot be in a text file")
    return text


def compose(text: str) -> tuple[Node | None, list[Fault]]:
    """The values of a document (None: it is empty) and everything that is wrong with it.

    A value that is at fault is kept as far as it can be, so that the rest of the file is checked in the same run.
    Raises SyntaxFault where reading cannot go on.
    """
    composer = _Composer(text)
    return composer.document(), composer.faults


class _Composer:
    """One pass over the events of one document."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        # The parser in pure Python, and never the one in C: its events come one at a time without recursion, and its
        # texts and columns are the same on every machine.
        self._loader = yaml.SafeLoader(text)
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._values = 0

    def document(self) -> Node | None:
        self._next(())  # the stream's start
        if isinstance(self._next(()), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(()), (), 1)
        self._next(())  # the document's end
        after = self._next(())
        if not isinstance(after, yaml.StreamEndEvent):
            raise SyntaxFault(_start(after), (), "a second document starts here: a topology is one document")
        return root

    def _next(self, path: Path) -> yaml.Event:
        try:
            event: yaml.Event = self._loader.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            raise SyntaxFault(self._here(error.problem_mark or error.context_mark), path, _reworded(error)) from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # Escapes beyond Unicode and version numbers of a thousand digits end in bare Python errors.
            raise SyntaxFault(self._here(None), path, f"is not YAML: {error}") from None
        return event

    def _here(self, known: yaml.Mark | None) -> Mark:
        mark = known or self._loader.get_mark()
        return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)

    def _node(self, event: yaml.Event, path: Path, depth: int) -> Node:
        mark = _start(event)
        if depth > MAX_DEPTH:
            raise SyntaxFault(mark, path[:4], f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)  # noqa: S101  where a value stands
        self._count(1, mark, path)
        if event.tag is not None:
            self._fault(mark, path, f"the tag {event.tag!r} is not read: write the value without it")
        before = self._values - 1
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # an alias to what is still open would contain itself
        node: Node
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(mark, path, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(mark, path, depth)
        elif isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _mapping(self, mark: Mark, path: Path, depth: int) -> Mapping:
        mapping = Mapping(mark)
        while not isinstance(event := self._next(path), yaml.MappingEndEvent):
            key, key_mark = self._key(event, path, depth), _start(event)
            below = path if key is None else (*path, key)
            if key in mapping.keys:
                self._fault(key_mark, below, f"is here for the second time; first in line {mapping.keys[key].line}")
                key = None
            value = self._node(self._next(below), below, depth + 1)
            if key is not None:
                mapping.items[key], mapping.keys[key] = value, key_mark
        return mapping

    def _key(self, event: yaml.Event, path: Path, depth: int) -> str | None:
        """The text of a key; None for what cannot be one, and its value is then read and left out."""
        if isinstance(event, yaml.AliasEvent):
            self._fault(_start(event), path, "a key cannot be an alias: write it out")
            return None
        node = self._node(event, path, depth + 1)
        if not isinstance(node, Scalar):
            self._fault(node.mark, path, "a key must be a text, not a list or a mapping")
            return None
        quoted = isinstance(event, yaml.ScalarEvent) and event.style is not None
        if node.value == "<<" and not quoted:
            self._fault(node.mark, path, "merge keys (<<) are not read: write the settings out")
            return None
        if not isinstance(node.value, str):
            if not self._faulty(node.mark):
                self._fault(node.mark, path, "a key must be a text: write it in quotes")
            return None
        return node.value

    def _sequence(self, mark: Mark, path: Path, depth: int) -> Sequence:
        sequence = Sequence(mark)
        while not isinstance(event := self._next(path), yaml.SequenceEndEvent):
            below = (*path, len(sequence.items))
            sequence.items.append(self._node(event, below, depth + 1))
        return sequence

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Scalar:
        mark = _start(event)
        if odd := _UNWANTED.search(event.value):
            self._fault(mark, path, f"the character U+{ord(odd[0]):04X} cannot be in a value")
            return Scalar("", mark)
        if event.style is not None:
            return Scalar(event.value, mark)
        try:
            return Scalar(resolve(event.value), mark)
        except Ambiguous as error:
            self._fault(mark, path, str(error))
            return Scalar(error.guess, mark)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        mark = _start(event)
        anchor = str(event.anchor)
        known = self._anchors.get(anchor)
        if known is None:
            text = "contains itself" if anchor in self._anchors else "has no anchor before it"
            raise SyntaxFault(mark, path, f"the alias *{anchor[:80]} {text}")
        node, values = known
        self._count(values, mark, path)
        return replace(node, mark=mark)

    def _count(self, values: int, mark: Mark, path: Path) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise SyntaxFault(mark, path, f"the file has more than {MAX_VALUES} values, aliases counted in full")

    def _fault(self, mark: Mark, path: Path, text: str) -> None:
        self.faults.append(Fault(mark, path, text))

    def _faulty(self, mark: Mark) -> bool:
        return any(fault.mark == mark for fault in self.faults)


def _start(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


def _mark_of(before: str) -> Mark:
    """Where the character after `before` is."""
    lines = before.removeprefix("\ufeff").split("\n")
    return Mark(len(lines), len(lines[-1]) + 1)


def _reworded(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's text, in words that say what to do where its own do not."""
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab: indent with spaces"
    if "mapping values are not allowed" in problem:
        return "a second ': ' in one line: put the value in quotes"
    if "but got '{'" in problem:
        return "a { that cannot be here: within { } and [ ], put a text with ${ in quotes"
    if "found character '" in problem and "cannot start any token" in problem:
        return f"a value cannot start with {problem.split(' ')[2]}: put it in quotes"
    return f"is not YAML: {error.context}, {problem}" if error.context else f"is not YAML: {problem}"
