"""Where names are bound, and how one scope sees another's."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from invalidator_flake8.values import Dotted, Own, Routine

Position = tuple[int, int]


class Binding(NamedTuple):
    """A name is given a value here: an expression, or what is already known. None: anything."""

    value: ast.expr | Dotted | Own | Routine | None
    annotation: ast.expr | None
    since: Position


class Scope:
    """A module, a class or a function. `members` are what a class's methods bind to `self`."""

    __slots__ = ("bindings", "elsewhere", "is_class", "members", "parent", "returned", "stars", "this")

    def __init__(self, parent: Scope | None, *, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bindings: dict[str, list[Binding]] = {}
        self.members: dict[str, list[Binding]] = {}
        self.elsewhere: dict[str, Scope] = {}  # of `global` and `nonlocal`
        self.returned: list[ast.expr] = []
        self.stars: list[str] = []  # modules of which everything is imported
        self.this = ""  # the name by which a method calls its object

    def bind(self, name: str, binding: Binding) -> None:
        """Not None: that is what stands in a variable until its value comes."""
        if not (isinstance(binding.value, ast.Constant) and binding.value.value is None and not binding.annotation):
            self.elsewhere.get(name, self).bindings.setdefault(name, []).append(binding)

    def find(self, name: str) -> Scope | None:
        """The scope that a name is bound in, as seen from here: methods do not see the names of their class."""
        scope: Scope | None = self
        while scope and (name not in scope.bindings or (scope.is_class and scope is not self)):
            scope = scope.elsewhere.get(name, scope.parent)
        return scope

    def class_of(self, name: str) -> Scope | None:
        """The class whose object a method calls by this name."""
        scope: Scope | None = self
        while scope and scope.this != name:
            scope = None if name in scope.bindings else scope.parent
        return scope.parent if scope else None

    def module(self) -> Scope:
        """The outermost one."""
        scope = self
        while scope.parent:
            scope = scope.parent
        return scope
