"""Which names of redis-py and valkey-py make what, and which names of other libraries set a deadline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["client", "pool", "sentinel", "pubsub", "retry"]

_LIBRARIES = frozenset({"redis", "valkey"})
_KINDS: dict[str, Kind] = {
    "Redis": "client",
    "StrictRedis": "client",
    "Valkey": "client",
    "StrictValkey": "client",
    "RedisCluster": "client",
    "ValkeyCluster": "client",
    "ConnectionPool": "pool",
    "BlockingConnectionPool": "pool",
    "SentinelConnectionPool": "pool",
    "Sentinel": "sentinel",
    "PubSub": "pubsub",
    "Retry": "retry",
}
_CLUSTERS = frozenset({"RedisCluster", "ValkeyCluster"})

DEADLINES = {
    "asyncio.timeout": "delay",
    "asyncio.timeout_at": "when",
    "asyncio.wait_for": "timeout",
    "anyio.fail_after": "delay",
    "anyio.move_on_after": "delay",
    "async_timeout.timeout": "delay",
    "async_timeout.timeout_at": "deadline",
}
"""What gives all that it encloses a deadline, and the argument that says which."""

PASSING = {"contextlib.closing": 0, "contextlib.aclosing": 0, "typing.cast": 1}
"""What gives back one of its arguments, and which."""

OF_A_PUBSUB = ("connection_pool", "shard_hint", "ignore_subscribe_messages")
"""The arguments of PubSub, in their order."""

TO_A_THREAD = frozenset(
    {"to_thread", "run_in_executor", "run_sync", "submit", "run_in_threadpool", "iterate_in_threadpool"}
)
"""What has its arguments used by another thread, which may block."""


@dataclass(frozen=True, slots=True)
class Factory:
    """A class, or a function, that makes one of ours. `positional` names what may be given without a name."""

    name: str
    kind: Kind
    is_async: bool
    positional: tuple[str, ...]


def factory(path: str) -> Factory | None:
    """What calling this dotted path makes, wherever in its library a name is imported from."""
    parts = path.split(".")
    if parts[0] not in _LIBRARIES or len(parts) == 1:
        return None
    is_async = "asyncio" in parts[:-1]
    if parts[-1] in ("from_url", "from_pool"):
        owner = parts[-2]
        kind = "client" if owner.islower() else _KINDS.get(owner)  # a module's own makes a client
        argument = "url" if parts[-1] == "from_url" else "connection_pool"
        return Factory(".".join(parts[-2:]), kind, is_async, (argument,)) if kind in ("client", "pool") else None
    kind = _KINDS.get(parts[-1])
    return Factory(parts[-1], kind, is_async, _positional(parts[-1], kind, is_async)) if kind else None


def _positional(name: str, kind: Kind, is_async: bool) -> tuple[str, ...]:
    if kind == "client" and not is_async and name not in _CLUSTERS:
        return ("host", "port", "db", "password", "socket_timeout")
    if kind == "sentinel":
        return ("sentinels", "min_other_sentinels", "sentinel_kwargs")
    return {
        "pubsub": OF_A_PUBSUB,
        "retry": ("backoff", "retries"),
    }.get(kind, ())
