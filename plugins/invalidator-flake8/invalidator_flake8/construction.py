"""What a call of redis-py makes, with all the options that can be seen."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from invalidator_flake8.catalogue import factory
from invalidator_flake8.values import Client, Dotted, Options, RetryPolicy, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator_flake8.values import Value

_MASTERS = frozenset({"master_for", "slave_for"})
_WRAPPING = frozenset(
    {f"typing.{name}" for name in ("Annotated", "AsyncGenerator", "AsyncIterator", "Generator", "Iterator", "Optional")}
    | {f"collections.abc.{name}" for name in ("AsyncGenerator", "AsyncIterator", "Generator", "Iterator")}
)
"""What is written around the type of what is meant; an iterator of one is a context manager's, or a fixture's."""
_OPEN = Options()


class Asked(Protocol):
    """Who knows the rest of the file."""

    def value(self, node: ast.expr) -> Value:
        """What an expression is."""

    def path(self, node: ast.expr) -> str:
        """The dotted path that imports give an expression."""

    def text(self, node: ast.expr) -> str:
        """The string that an expression is."""

    def quoted(self, node: ast.Constant) -> ast.expr | None:
        """The expression that a string is."""


def construct(path: str, call: ast.Call, asked: Asked) -> Value:
    """What calling this path makes, if it is one of redis-py's or valkey-py's."""
    made = factory(path)
    if made is None:
        return None
    options = options_of(call, made.positional)
    if made.kind == "retry":
        return RetryPolicy(_gives_up(options))
    if made.kind == "pubsub":
        client = _pool(options, asked)
        return Subscription(client, made.is_async)
    return Client(made.kind, made.name, made.is_async, _with_pool(_with_url(options, asked), asked), call)


def master_of(sentinel: Client, method: str, call: ast.Call) -> Client | None:
    """The client that a Sentinel makes: with the Sentinel's options, and its own over them."""
    if sentinel.kind != "sentinel" or method not in _MASTERS:
        return None
    return Client("client", method, sentinel.is_async, _merged(sentinel.options, options_of(call, ())), call)


def annotated(annotation: ast.expr, asked: Asked) -> Value:
    """What a value with this annotation is. Its options are anybody's."""
    return next((found for path in _named(annotation, asked) if (found := _instance(path))), None)


def _named(annotation: ast.expr, asked: Asked) -> Iterator[str]:
    """The paths of the classes that an annotation names, from the left."""
    waiting: list[ast.expr | None] = [annotation]
    while waiting:
        match waiting.pop():
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                waiting += [right, left]
            case ast.Subscript(value=outer, slice=inner) if asked.path(outer) in _WRAPPING:
                waiting.append(inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner)
            case ast.Subscript(value=outer):
                waiting.append(outer)
            case ast.Constant(value=str()) as quoted:
                waiting.append(asked.quoted(quoted))
            case ast.expr() as name:
                yield asked.path(name)


def _instance(path: str) -> Value:
    made = factory(path)
    if made is None:
        return Dotted(f"{path}()") if path and path != "typing.Any" else None
    if made.kind == "pubsub":
        return Subscription(None, made.is_async)
    return Client(made.kind, made.name, made.is_async) if made.kind != "retry" else RetryPolicy(None)


def options_of(call: ast.Call, positional: Sequence[str]) -> Options:
    """What is given by name, and by the place that `positional` names."""
    given = dict(zip(positional, call.args, strict=False))
    is_open = any(isinstance(argument, ast.Starred) for argument in call.args)
    for keyword in call.keywords:
        if keyword.arg:
            given[keyword.arg] = keyword.value
        else:
            is_open = True
    return Options(given, is_open)


def is_none(node: ast.expr | None) -> bool:
    """Whether an argument is not given, or given as None."""
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _merged(below: Options, above: Options) -> Options:
    return Options({**below.given, **above.given}, below.is_open or above.is_open)


def _with_url(options: Options, asked: Asked) -> Options:
    """redis-py takes any option from a URL's query, and lets it win over arguments."""
    url = options.given.get("url")
    if url is None:
        return options
    query = asked.text(url).partition("?")[2].partition("#")[0]
    # What an f-string fills in is missing here: the value may be empty, its name is there.
    said = {name: _placed(value, url) for name, value in parse_qsl(query, keep_blank_values=True)}
    return Options({**options.given, **said}, options.is_open)


def _placed(value: str, at: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Constant(value), at)


def _pool(options: Options, asked: Asked) -> Client | None:
    pool = options.given.get("connection_pool")
    found = asked.value(pool) if pool else None
    return found if isinstance(found, Client) else None


def _with_pool(options: Options, asked: Asked) -> Options:
    """A pool that is given has all of the options; those of the client count for nothing then."""
    if is_none(options.given.get("connection_pool")):
        return options
    pool = _pool(options, asked)
    inherited = pool.options if pool else _OPEN
    return Options({**inherited.given, "connection_pool": options.given["connection_pool"]}, inherited.is_open)


def _gives_up(options: Options) -> bool | None:
    """Whether the first failure is raised."""
    match options.given.get("retries"):
        case ast.Constant(value=times):
            return times == 0
        case ast.UnaryOp():  # below zero: for ever
            return False
    return None
