"""The connections of a sideline: to the server that its route says, and in a Cluster to the owners of keys. Blocks."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, MovedError

from invalidator.slots import clock
from invalidator.wire.cluster import ThroughCluster
from invalidator.wire.identity import Address, Identity, exchange, identify
from invalidator.wire.options import UNINTRODUCED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from invalidator.wire.identity import Command
    from invalidator.wire.route import Route

MOST_REDIRECTS = 5
"""Of one command. Two nodes that each take the other for the owner of a slot would go on for ever."""


class Hub:
    """Opened when first needed, and again when older than `max_age` seconds or when the route leads elsewhere."""

    def __init__(self, route: Route, name: str, max_age: float, **options: Any) -> None:
        """`options` are redis-py's, for each connection."""
        self._route = route
        self._max_age = max_age
        self._name = name
        self._options: dict[str, Any] = {**UNINTRODUCED, **options}
        self._connection: redis.Connection | None = None
        self._owners: dict[Address, redis.Connection] = {}
        self._opened = 0.0
        self.server = Identity()

    def prepare(self) -> None:
        """Have a connection to the server that is the right one now. Raises redis.RedisError or OSError."""
        connection = self._connection
        if connection and (clock() - self._opened > self._max_age or not self._route.is_current(connection)):
            self.hang_up()
        if self._connection is None:
            self._connection = self._joined()
            self._opened = clock()

    def exchange(self, commands: Sequence[Command]) -> tuple[object, ...]:
        """The replies, in order; after `prepare`. Raises redis.RedisError or OSError."""
        assert self._connection is not None  # noqa: S101  # the caller has prepared
        replies = exchange(self._connection, commands)
        if not any(isinstance(reply, AskError) for reply in replies):
            return replies
        return tuple(self._followed(command, reply) for command, reply in zip(commands, replies, strict=True))

    def was_astray(self) -> bool:
        """See Route."""
        return self._route.was_astray()

    def hang_up(self) -> None:
        """Close what is open."""
        open_now = [self._connection, *self._owners.values()]
        self._connection = None
        self._owners.clear()
        for connection in open_now:
            if connection:
                with suppress(Exception):
                    connection.disconnect()

    def close(self) -> None:
        """The same, for good."""
        self.hang_up()
        self._route.close()

    def _joined(self) -> redis.Connection:
        connection = self._route.open(**self._options)
        try:
            connection.connect()
            self.server = identify(connection, self._name)
            self._route.check(self.server, to_listen=False)
        except BaseException:
            with suppress(Exception):
                connection.disconnect()
            raise
        return connection

    def _followed(self, command: Command, reply: object) -> object:
        """The reply of the node that owns the command's key; the last redirection if they lead nowhere."""
        for _ in range(MOST_REDIRECTS):
            if not isinstance(reply, AskError) or not isinstance(self._route, ThroughCluster):
                break
            owner = self._owner(Address(reply.host or str(self._route.at), reply.port))
            if isinstance(reply, MovedError):
                (reply,) = exchange(owner, [command])
            else:  # in the middle of a move, and for this one command
                _, reply = exchange(owner, [("ASKING",), command])
        return reply

    def _owner(self, address: Address) -> redis.Connection:
        if address not in self._owners:
            assert isinstance(self._route, ThroughCluster)  # noqa: S101  # nobody else redirects
            connection = self._route.open_at(address, client_name=self._name, **self._options)
            connection.connect()
            self._owners[address] = connection
        return self._owners[address]
