"""What each kind of statement binds, and in which scope."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from invalidator_flake8.scopes import Binding, Scope
from invalidator_flake8.values import Dotted, Own, Routine

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator_flake8.scopes import Position

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def bind(node: ast.AST, scope: Scope) -> None:
    """Note in its scope what this node binds, or returns."""
    if read := _BINDERS.get(type(node)):
        read(node, scope)


def _end(node: ast.AST) -> Position:
    return getattr(node, "end_lineno", 0) or 0, getattr(node, "end_col_offset", 0) or 0


def opened(node: Function | ast.ClassDef, scope: Scope) -> Scope:
    """The scope of a class or a function, with its parameters."""
    inner = Scope(scope, is_class=isinstance(node, ast.ClassDef))
    if isinstance(node, ast.ClassDef):
        scope.bind(node.name, Binding(Own(inner), None, _end(node)))
        return inner
    if not isinstance(node, ast.Lambda):
        routine = Routine(inner, node.returns, any(map(_is_property, node.decorator_list)))
        scope.bind(node.name, Binding(routine, None, (node.lineno, 0)))
    positional = [*node.args.posonlyargs, *node.args.args]
    others = [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    for parameter in positional + others:
        inner.bind(parameter.arg, Binding(None, parameter.annotation, (0, 0)))
    if scope.is_class and positional and not _is_static(node):
        inner.this = positional[0].arg
        inner.bindings[inner.this] = [Binding(Own(scope), None, (0, 0))]
    return inner


def _is_static(node: Function) -> bool:
    return isinstance(node, ast.Lambda) or any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod" for decorator in node.decorator_list
    )


def _is_property(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
    return name in ("property", "cached_property")


def _import(node: ast.Import, scope: Scope) -> None:
    for alias in node.names:
        name = alias.asname or alias.name.partition(".")[0]
        scope.bind(name, Binding(Dotted(alias.name if alias.asname else name), None, _end(node)))


def _import_from(node: ast.ImportFrom, scope: Scope) -> None:
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name == "*":
            scope.module().stars.append(module)
        else:
            scope.bind(alias.asname or alias.name, Binding(Dotted(f"{module}.{alias.name}"), None, _end(node)))


def _assign(node: ast.Assign, scope: Scope) -> None:
    for target in node.targets:
        _bind(target, Binding(node.value, None, _end(node)), scope)


def _annotated(node: ast.AnnAssign, scope: Scope) -> None:
    _bind(node.target, Binding(node.value, node.annotation, _end(node)), scope)


def _walrus(node: ast.NamedExpr, scope: Scope) -> None:
    _bind(node.target, Binding(node.value, None, _end(node)), scope)


def _with(node: ast.With | ast.AsyncWith, scope: Scope) -> None:
    for item in node.items:
        if item.optional_vars:
            _bind(item.optional_vars, Binding(item.context_expr, None, _end(item.context_expr)), scope)


def _loop(node: ast.For | ast.AsyncFor | ast.comprehension, scope: Scope) -> None:
    _bind(node.target, Binding(None, None, _end(node.iter)), scope)


def _global(node: ast.Global, scope: Scope) -> None:
    scope.elsewhere |= dict.fromkeys(node.names, scope.module())


def _nonlocal(node: ast.Nonlocal, scope: Scope) -> None:
    for name in node.names:
        if found := scope.parent and scope.parent.find(name):
            scope.elsewhere[name] = found


def _return(node: ast.Return | ast.Yield, scope: Scope) -> None:
    if node.value:
        scope.returned.append(node.value)


def _bind(target: ast.expr, binding: Binding, scope: Scope) -> None:
    match target:
        case ast.Name(id=name):
            scope.bind(name, binding)
        case ast.Attribute(value=ast.Name(id=this), attr=name) if found := scope.class_of(this):
            found.members.setdefault(name, []).append(binding)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            for inner, value in zip(targets, _unpacked(binding.value, targets), strict=True):
                _bind(inner, binding._replace(value=value), scope)
        case ast.Starred(value=inner):
            _bind(inner, binding._replace(value=None), scope)


def _unpacked(value: object, targets: list[ast.expr]) -> list[ast.expr] | list[None]:
    values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
    starred = any(isinstance(item, ast.Starred) for item in [*values, *targets])
    return values if len(values) == len(targets) and not starred else [None] * len(targets)


_BINDERS: dict[type[ast.AST], Callable[..., None]] = {
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.NamedExpr: _walrus,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.For: _loop,
    ast.AsyncFor: _loop,
    ast.comprehension: _loop,
    ast.Global: _global,
    ast.Nonlocal: _nonlocal,
    ast.Return: _return,
    ast.Yield: _return,
}
