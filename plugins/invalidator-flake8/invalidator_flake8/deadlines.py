"""Whether code that runs in an event loop ends by a deadline, or leaves the loop to others."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from invalidator_flake8.catalogue import DEADLINES, TO_A_THREAD
from invalidator_flake8.construction import is_none

if TYPE_CHECKING:
    from invalidator_flake8.resolver import Resolver


_WAIT_FOR = "asyncio.wait_for"


def has_deadline(node: ast.AST, asked: Resolver) -> bool:
    """Whether a timeout of asyncio or anyio stands around this node, within its function."""
    for outer, _ in asked.source.around(node):
        if isinstance(outer, ast.With | ast.AsyncWith):
            if any(_is_deadline(item.context_expr, asked) for item in outer.items):
                return True
        elif isinstance(outer, ast.Call) and _is_waiting(outer, asked):
            return True
    return False


def is_handed_to_a_thread(node: ast.AST, asked: Resolver) -> bool:
    """Whether this is an argument of what has it used by another thread."""
    return any(
        isinstance(outer, ast.Call) and inner is not outer.func and asked.callee(outer).name in TO_A_THREAD
        for outer, inner in asked.source.around(node)
    )


def _is_deadline(context: ast.expr, asked: Resolver) -> bool:
    if isinstance(context, ast.Call):
        path = asked.callee(context).path
        return path in DEADLINES and _limits(context, 0, DEADLINES[path], asked)
    # One that was made before, and has a name.
    return asked.path(context).removesuffix("()") in DEADLINES


def _is_waiting(call: ast.Call, asked: Resolver) -> bool:
    return asked.callee(call).path == _WAIT_FOR and _limits(call, 1, DEADLINES[_WAIT_FOR], asked)


def _limits(call: ast.Call, place: int, name: str, asked: Resolver) -> bool:
    """Whether a time is given: None and infinity are no deadline."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg in (name, None)), None)
    limit = named or (call.args[place] if len(call.args) > place else None)
    return not is_none(limit) and (limit is None or asked.path(limit) != "math.inf")
