"""One file, read once: its scopes, what is bound in them, and what stands around each node.

Read with a stack of its own. A sum of a thousand terms is a tree a thousand deep, and a recursive walk would end there.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from invalidator_flake8.scopes import Scope
from invalidator_flake8.statements import Function, bind, opened

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 500
"""Characters of an annotation in a string."""
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Iteration(NamedTuple):
    """Something is iterated at `at`, or asked for its next item."""

    over: ast.expr
    at: ast.AST
    is_async: bool


class Source:
    """`calls` and `iterations` in the order of the file."""

    def __init__(self, tree: ast.Module) -> None:
        self.calls: list[ast.Call] = []
        self.iterations: list[Iteration] = []
        self._parents: dict[ast.AST, ast.AST] = {}
        self._scopes: dict[ast.AST, Scope] = {}
        waiting: list[tuple[ast.AST, Scope]] = [(tree, Scope(None))]
        while waiting:
            node, scope = waiting.pop()
            self._scopes[node] = scope
            inner = self._read(node, scope)
            children = list(ast.iter_child_nodes(node))
            for child in children:
                self._parents[child] = node
            waiting += [(child, inner) for child in reversed(children)]

    def scope(self, node: ast.AST) -> Scope:
        """Where names of this node are looked up."""
        return self._scopes[node]

    def quoted(self, node: ast.Constant) -> ast.expr | None:
        """The expression that an annotation has as a string."""
        try:
            found = ast.parse(str(node.value)[:_LONGEST], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        self._scopes |= dict.fromkeys(ast.walk(found), self._scopes[node])
        return found

    def around(self, node: ast.AST) -> Iterable[tuple[ast.AST, ast.AST]]:
        """What stands around a node within its function, from the inside, each with the child that leads there."""
        while (parent := self._parents.get(node)) and not isinstance(node, _SCOPES):
            yield parent, node
            node = parent

    def function(self, node: ast.AST) -> Function | None:
        """The one that runs this node."""
        found = next((parent for parent, _ in self.around(node) if isinstance(parent, _SCOPES)), None)
        return found if isinstance(found, Function) else None

    def _read(self, node: ast.AST, scope: Scope) -> Scope:
        """Note what is bound, called or iterated here. Returns the scope of what is inside."""
        if isinstance(node, ast.Call):
            self.calls.append(node)
            self._next_of(node)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self.iterations.append(Iteration(node.iter, node, isinstance(node, ast.AsyncFor)))
        elif isinstance(node, ast.comprehension):
            self.iterations.append(Iteration(node.iter, node, bool(node.is_async)))
        elif isinstance(node, _SCOPES):
            return opened(node, scope)
        bind(node, scope)
        return scope

    def _next_of(self, call: ast.Call) -> None:
        match call.func:
            case ast.Name(id="next" | "anext" as name) if call.args:
                self.iterations.append(Iteration(call.args[0], call, name == "anext"))
            case ast.Attribute(value=over, attr="__next__" | "__anext__" as name):
                self.iterations.append(Iteration(over, call, name == "__anext__"))
