"""Which server a connection goes to: the one that the URL names, Sentinel's master, or a node of a Cluster."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import redis
from redis.connection import parse_url

from invalidator.wire.cluster import ThroughCluster
from invalidator.wire.options import connection_options, over_tcp
from invalidator.wire.sentinel import ThroughSentinel

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Address, Identity


class Route(Protocol):
    """Used by one thread. `relays` says that what is published at one server is heard at others too."""

    relays: bool
    at: Address | None
    """Where the last connection went; None: wherever the URL says."""

    def open(self, **options: Any) -> redis.Connection:
        """A connection to the server that is the right one now. Blocks; raises redis.RedisError or OSError.

        It may not be connected yet. `options` are redis-py's, for this connection.
        """

    def check(self, server: Identity, *, to_listen: bool) -> None:
        """Refuse a server that is not what it was named for, or that nothing can be heard from. Raises RedisError."""

    def is_current(self, connection: redis.Connection) -> bool:
        """Whether `open` would go to the same server now. Blocks; raises as `open` when nobody can say."""

    def was_astray(self) -> bool:
        """Whether what was published lately may have gone to a server that is the wrong one. Blocks; says so once."""

    def close(self) -> None:
        """Hang up on whom it has asked."""


class Direct:
    """The server that the URL names. What is behind a name or a proxy is only seen by connecting again."""

    relays = False
    at: Address | None = None

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings

    def open(self, **options: Any) -> redis.Connection:
        """See Route."""
        # A password's file is a newer word than the URL's.
        made = read_url(self._settings) | connection_options(self._settings) | options
        if self._settings.url.scheme != "unix":
            made |= over_tcp(self._settings.heartbeat.deadline)
        return cast("redis.Connection", made.pop("connection_class", redis.Connection)(**made))

    def check(self, server: Identity, *, to_listen: bool) -> None:
        """A replica hears its master's messages only while it is linked to it."""
        if to_listen and server.role == "slave" and server.replication != "connected":
            raise redis.ConnectionError(
                f"MASTERDOWN: this server is a replica, and the link to its master is in state {server.replication!r}"
            )

    def is_current(self, connection: redis.Connection) -> bool:
        """Nobody can be asked."""
        del connection
        return True

    def was_astray(self) -> bool:
        """Nobody can tell."""
        return False

    def close(self) -> None:
        """Nobody was."""


def route_to(settings: RedisSettings, *, key: str = "", avoid: Callable[[], Address | None] = lambda: None) -> Route:
    """The route that the URL's scheme asks for.

    In a Cluster: to the owner of `key`, where one is given, else to any node but, if there is another, `avoid()`.
    """
    if settings.url.scheme == "redis+sentinel":
        return ThroughSentinel(settings)
    if settings.url.scheme == "redis+cluster":
        return ThroughCluster(settings, key, avoid)
    return Direct(settings)


def read_url(settings: RedisSettings) -> dict[str, Any]:
    """What the URL says, as redis-py's connections take it; nothing where it names several servers.

    Read once, and before the fork: a worker connects every few seconds for as long as it lives.
    """
    return {} if settings.url.scheme.startswith("redis+") else dict(_read(settings.url.reveal()))


@lru_cache(maxsize=64)
def _read(url: str) -> dict[str, Any]:
    said: dict[str, Any] = parse_url(url)
    return said
