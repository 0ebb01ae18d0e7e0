"""The five rules. Each is asked about what it is about, and answers with findings."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from invalidator_flake8.catalogue import OF_A_PUBSUB
from invalidator_flake8.construction import is_none, options_of
from invalidator_flake8.deadlines import has_deadline, is_handed_to_a_thread
from invalidator_flake8.values import Client, Listening, RetryPolicy, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator_flake8.resolver import Resolver
    from invalidator_flake8.source import Iteration
    from invalidator_flake8.values import Callee, Options

_BLOCKS = (
    "this listen() blocks the event loop: no other task runs until a message comes;"
    " use redis.asyncio and `await pubsub.get_message(timeout=SECONDS)`, or a thread of its own"
)
_WAITS = (
    "listen() without a deadline: a dead connection looks like a quiet channel, for ever;"
    " use get_message(timeout=SECONDS) in a loop"
)
_IN_A_LOOP = ", or put asyncio.timeout(SECONDS) around it"
_UNBOUNDED = (
    "{name}() without socket_timeout: by redis-py's older defaults and valkey-py's, a server that hangs"
    " holds its caller up for ever; say how long it may take: socket_timeout=SECONDS"
)
_TRACELESS = (
    "ignore_subscribe_messages=True hides the only trace of a silent reconnect, and so of lost messages;"
    " take each confirmation after the first for a gap, or have failures raised: retry=Retry(NoBackoff(), 0)"
)
_DECODED = (
    "decode_responses=True on a client that subscribes: one payload that is not UTF-8 breaks the reader;"
    " leave it out, and decode each message's data where its failure can be caught"
)


class Finding(NamedTuple):
    """`column` counts from 0."""

    line: int
    column: int
    code: str
    text: str


def findings(asked: Resolver) -> list[Finding]:
    """All of one file, each once, in its order."""
    found = {finding for call in asked.source.calls for finding in _of_call(call, asked)}
    found |= {finding for iteration in asked.source.iterations for finding in _of_iteration(iteration, asked)}
    return sorted(found)


def _of_call(call: ast.Call, asked: Resolver) -> Iterator[Finding]:
    callee = asked.callee(call)
    made = asked.value(call)
    if isinstance(made, Client) and made.call is call:
        yield from unbounded_client(made, call, asked)
    if isinstance(made, Listening) and made.call is call:
        yield from listening(made, call, asked)
    yield from traceless(call, callee, made, asked)
    if isinstance(made, Subscription) and made.client:
        yield from decoded(made.client)


def _of_iteration(iteration: Iteration, asked: Resolver) -> Iterator[Finding]:
    generator = asked.value(iteration.over)
    if not isinstance(generator, Listening):
        return
    is_async = generator.subscription.is_async
    if iteration.is_async if is_async is None else is_async:
        if not has_deadline(iteration.at, asked):
            yield _at(iteration.over, "INV002", _WAITS + _IN_A_LOOP)
    elif not _is_reported(generator, iteration, asked):
        yield from _blocking(iteration.over, iteration.at, asked)


def listening(generator: Listening, call: ast.Call, asked: Resolver) -> Iterator[Finding]:
    """INV001 and INV002, where the client that does not await is known by its import."""
    subscription = generator.subscription
    if subscription.is_async is not False:
        return
    yield from _blocking(call, call, asked)
    if subscription.client and _has_no_timeout(subscription.client.options):
        yield _at(call, "INV002", _WAITS)


def _blocking(node: ast.expr, at: ast.AST, asked: Resolver) -> Iterator[Finding]:
    if isinstance(asked.source.function(at), ast.AsyncFunctionDef) and not is_handed_to_a_thread(node, asked):
        yield _at(node, "INV001", _BLOCKS)


def _is_reported(generator: Listening, iteration: Iteration, asked: Resolver) -> bool:
    """Whether the call has been, in the function that iterates."""
    same = asked.source.function(generator.call) is asked.source.function(iteration.at)
    return same and generator.subscription.is_async is False


def unbounded_client(client: Client, call: ast.Call, asked: Resolver) -> Iterator[Finding]:
    """INV003. A pool that is given has the options; a Sentinel without them is reported once, where it is made."""
    options = client.options
    if not is_none(options.given.get("connection_pool")) or not _has_no_timeout(options):
        return
    if client.kind == "sentinel" and _may_limit_sentinels(options):
        return
    if isinstance(call.func, ast.Attribute):
        sentinel = asked.value(call.func.value)
        if isinstance(sentinel, Client) and sentinel.kind == "sentinel" and not _may_limit_sentinels(sentinel.options):
            return
    yield _at(call, "INV003", _UNBOUNDED.format(name=client.name))


def _may_limit_sentinels(options: Options) -> bool:
    """Whether the connections to the Sentinels themselves are made with options of their own, not seen to lack it."""
    own = options.given.get("sentinel_kwargs")
    if is_none(own):
        return False
    if not isinstance(own, ast.Dict):
        return True
    return any(key is None or (isinstance(key, ast.Constant) and key.value == "socket_timeout") for key in own.keys)


def _has_no_timeout(options: Options) -> bool:
    if "socket_timeout" in options.given:
        return is_none(options.given["socket_timeout"])
    return not options.is_open


def traceless(call: ast.Call, callee: Callee, made: object, asked: Resolver) -> Iterator[Finding]:
    """INV004, wherever confirmations can be thrown away: for a whole subscription, or message by message."""
    if isinstance(made, Subscription):
        subscription = made
        given = options_of(call, OF_A_PUBSUB)
    elif callee.name == "get_message":
        subscription = callee.owner if isinstance(callee.owner, Subscription) else Subscription()
        given = options_of(call, ("ignore_subscribe_messages",) if subscription is callee.owner else ())
    else:
        return
    flag = given.given.get("ignore_subscribe_messages")
    if flag is not None and _is_true(flag) and _retries_silently(subscription.client, asked):
        yield _at(flag, "INV004", _TRACELESS)


def _retries_silently(client: Client | None, asked: Resolver) -> bool:
    """redis-py does unless it is told not to. Of a client that comes from elsewhere nothing else is known."""
    if client is None or client.call is None:
        return True
    retry = client.options.given.get("retry")
    if retry is None:
        return not client.options.is_open
    policy = asked.value(retry)
    return isinstance(policy, RetryPolicy) and policy.gives_up is False


def decoded(client: Client) -> Iterator[Finding]:
    """INV005, where the option is: that is what has to change."""
    flag = client.options.given.get("decode_responses")
    if flag is not None and _is_true(flag):
        yield _at(flag, "INV005", _DECODED)


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)


def _at(node: ast.expr, code: str, text: str) -> Finding:
    return Finding(node.lineno, node.col_offset, code, text)
