"""What an expression is, as far as imports, annotations and assignments of its own file tell."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from invalidator_flake8.catalogue import PASSING, factory
from invalidator_flake8.construction import annotated, construct, master_of
from invalidator_flake8.values import Callee, Client, Dotted, Listening, Method, Own, Routine, Subscription

if TYPE_CHECKING:
    from invalidator_flake8.scopes import Binding, Scope
    from invalidator_flake8.source import Source
    from invalidator_flake8.values import Value

_DEEPEST = 40
"""Steps from a use to what is known about it. A limit, for files that a program has written."""
_ITERATORS = frozenset({"iter", "aiter"})
_ENTERED = frozenset({"enter_context", "enter_async_context"})


class Resolver:
    """Asks one file. Everything is looked up once; what is defined by itself is nothing."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._known: dict[ast.expr, Value] = {}
        self._depth = 0

    def value(self, node: ast.expr) -> Value:
        """What this expression is."""
        if node not in self._known and self._depth < _DEEPEST:
            self._known[node] = None  # for whoever asks on the way
            self._depth += 1
            try:
                self._known[node] = self._look(node)
            finally:
                self._depth -= 1
        return self._known.get(node)

    def callee(self, call: ast.Call) -> Callee:
        """What this calls. Its name is empty where even that is not known."""
        if isinstance(call.func, ast.Attribute):
            owner, name = self.value(call.func.value), call.func.attr
            if isinstance(owner, Own):
                return _as_callee(self._member(owner, name)) or Callee(name, owner)
            return Callee(name, owner, f"{owner.path}.{name}" if isinstance(owner, Dotted) else "")
        return _as_callee(self.value(call.func)) or Callee("")

    def path(self, node: ast.expr) -> str:
        """The dotted path that imports give this expression, or an empty one."""
        value = self.value(node)
        return value.path if isinstance(value, Dotted) else ""

    def text(self, node: ast.expr) -> str:
        """A string that stands here, or is assigned to the name that stands here; of an f-string, what is fixed."""
        if isinstance(node, ast.Name):
            bound = next(
                (binding.value for binding in self._bindings(node) if isinstance(binding.value, ast.expr)), node
            )
            node = bound
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        return "".join(p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str))

    def quoted(self, node: ast.Constant) -> ast.expr | None:
        """The expression that an annotation has as a string."""
        return self.source.quoted(node)

    def _look(self, node: ast.expr) -> Value:
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Attribute(value=owner, attr=name):
                return self._attribute(self.value(owner), name)
            case ast.Call():
                return self._called(node)
        return next((found for inner in _one_of(node) if (found := self.value(inner))), None)

    def _name(self, node: ast.Name) -> Value:
        bindings = self._bindings(node)
        if not bindings:
            stars = [f"{module}.{node.id}" for module in self.source.scope(node).module().stars]
            return next((Dotted(path) for path in stars if factory(path)), None) or _by_its_name(node.id)
        return next((found for binding in bindings if (found := self._bound(binding))), None) or _by_its_name(node.id)

    def _bindings(self, node: ast.Name) -> list[Binding]:
        """What may have given the name its value, the likeliest first: in its own scope the last one before it."""
        own = self.source.scope(node)
        scope = own.find(node.id)
        if scope is None:
            return []
        bindings = scope.bindings[node.id]
        if scope is not own:
            return bindings[::-1]
        before = [binding for binding in bindings if binding.since <= (node.lineno, node.col_offset)]
        return before[-1:] or bindings[:1]

    def _bound(self, binding: Binding) -> Value:
        found = self.value(binding.value) if isinstance(binding.value, ast.expr) else binding.value
        return found or (annotated(binding.annotation, self) if binding.annotation else None)

    def _attribute(self, owner: Value, name: str) -> Value:
        if isinstance(owner, Dotted):
            return Dotted(f"{owner.path}.{name}")
        if isinstance(owner, Own):
            return self._member(owner, name) or _by_its_name(name)
        return Method(owner, name) if owner else _by_its_name(name)

    def _member(self, owner: Own, name: str) -> Value:
        bindings = [*owner.scope.members.get(name, ()), *owner.scope.bindings.get(name, ())]
        found = next((found for binding in bindings if (found := self._bound(binding))), None)
        return self._returned(found) if isinstance(found, Routine) and found.is_property else found

    def _returned(self, routine: Routine) -> Value:
        found = next((found for node in routine.scope.returned if (found := self.value(node))), None)
        return found or (annotated(routine.annotation, self) if routine.annotation else None)

    def _called(self, call: ast.Call) -> Value:
        callee = self.callee(call)
        if made := construct(callee.path, call, self):
            return made
        if passed := self._passed_on(call, callee):
            return self.value(passed)
        if made := _made_by_method(call, callee):
            return made
        if callee.path:
            return Dotted(f"{callee.path}()")
        if isinstance(callee.owner, Routine):
            return self._returned(callee.owner)
        return callee.owner if isinstance(callee.owner, Own) and not callee.name else None

    def _passed_on(self, call: ast.Call, callee: Callee) -> ast.expr | None:
        place = PASSING.get(callee.path)
        if place is None and (callee.name in _ENTERED or _is_builtin(call.func, self.source.scope(call))):
            place = 0
        return call.args[place] if place is not None and place < len(call.args) else None


def _one_of(node: ast.expr) -> list[ast.expr]:
    """What gives an expression its value."""
    match node:
        case ast.Await(value=inner) | ast.NamedExpr(value=inner):
            return [inner]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.BoolOp(values=values):
            return values
    return []


def _made_by_method(call: ast.Call, callee: Callee) -> Value:
    owner = callee.owner
    if callee.name == "pubsub":
        return Subscription(owner, owner.is_async) if isinstance(owner, Client) else Subscription()
    if callee.name == "listen" and isinstance(owner, Subscription):
        return Listening(owner, call)
    return master_of(owner, callee.name, call) if isinstance(owner, Client) else None


def _as_callee(value: Value) -> Callee | None:
    if isinstance(value, Dotted):
        return Callee(value.path.rpartition(".")[2], None, value.path)
    if isinstance(value, Method):
        return Callee(value.name, value.owner)
    return Callee("", value) if isinstance(value, Own | Routine) else None


def _is_builtin(function: ast.expr, scope: Scope) -> bool:
    return isinstance(function, ast.Name) and function.id in _ITERATORS and scope.find(function.id) is None


def _by_its_name(name: str) -> Value:
    """Where nothing else is known, what is called so is taken at its word: mostly a parameter without a type."""
    return Subscription() if name.lower().replace("_", "").endswith("pubsub") else None
