"""Everything that is wrong with one file, gathered while each step of reading it goes on as far as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator.errors import Problem
from invalidator.topology.nodes import Mapping, Mark, Scalar, child, scalars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.topology.nodes import Fault, Node, Path

Of = Literal["value", "key"]


class Findings:
    """Problems and warnings by their places. `root` is what the file says, as soon as it could be parsed."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self._file = file
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []
        self._wrong: set[tuple[int, str]] = set()

    def faults(self, faults: Iterable[Fault]) -> None:
        """What the syntax is at fault with."""
        for fault in faults:
            self._add(Problem(self._file, *fault.mark, shown_path(fault.path), fault.text))

    def error(self, path: Path, text: str, of: Of = "value") -> None:
        """What makes the topology wrong. A value that is wrong already is not reported again for another reason."""
        problem = self._problem(path, text, of)
        if of == "key" or (problem.line, problem.path) not in self._wrong:
            self._add(problem)

    def warning(self, path: Path, text: str, of: Of = "value") -> None:
        """What the operator should know, and may want."""
        problem = self._problem(path, text, of)
        if problem not in self._warnings:
            self._warnings.append(problem)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """In the order of the file."""
        return tuple(sorted(self._errors, key=lambda problem: (problem.line, problem.column)))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """In the order of the file."""
        return tuple(sorted(self._warnings, key=lambda problem: (problem.line, problem.column)))

    def existing(self, path: Path) -> Path:
        """As much of the path as the file has: a model's own steps, such as a union's members, are not in it."""
        node = self.root
        for length, step in enumerate(path):
            node = child(node, step)
            if node is None:
                return path[:length]
        return path

    def at(self, path: Path) -> Node | None:
        """What the file has there."""
        node = self.root
        for step in path:
            node = child(node, step)
        return node

    def _add(self, problem: Problem) -> None:
        self._errors.append(problem)
        self._wrong.add((problem.line, problem.path))

    def _problem(self, path: Path, text: str, of: Of) -> Problem:
        there = self.existing(path)
        node = self.at(there)
        mark = self._mark(there, node, of)
        # What came from the environment or a file may be secret, also where an error quotes it.
        for scalar in scalars(node):
            if scalar.hidden and scalar.value:
                text = text.replace(str(scalar.value), "***")
        return Problem(self._file, *mark, shown_path(path), text)

    def _mark(self, path: Path, node: Node | None, of: Of) -> Mark:
        if path and (of == "key" or not isinstance(node, Scalar)):
            parent, last = self.at(path[:-1]), path[-1]
            if isinstance(parent, Mapping) and isinstance(last, str) and last in parent.keys:
                return parent.keys[last]
        return node.mark if node else Mark(1, 1)


def shown_path(path: Path) -> str:
    """`workers[0].backends[1].flush`; a key of the operator's own can be long, or drive a terminal."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{_shown_key(step)}" if text else _shown_key(step)
    return text


def _shown_key(key: str) -> str:
    shown = key if len(key) <= 60 else key[:60] + "…"
    return shown if shown.isprintable() and shown else ascii(shown)
