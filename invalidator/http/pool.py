"""The connections to one origin, and the selector that watches them. They outlive an exchange: that is keep-alive."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, NamedTuple

from invalidator.http.connection import Connection, Timeouts
from invalidator.http.pipeline import Pipeline
from invalidator.http.resolver import Resolver

if TYPE_CHECKING:
    import socket
    import ssl

    from invalidator.http.glance import Glance
    from invalidator.http.origin import Origin


class _Watch(NamedTuple):
    sock: socket.socket
    descriptor: int
    events: int


class Pool:
    """At most `size` connections, each idle or lent to whoever took it."""

    def __init__(
        self,
        origin: Origin,
        *,
        size: int,
        pipeline: int,
        timeouts: Timeouts,
        glance: Glance,
        context: ssl.SSLContext | None,
    ) -> None:
        self.size = size
        self.pipeline = Pipeline(pipeline)
        self.idle: list[Connection] = []
        self._origin = origin
        self._timeouts = timeouts
        self._glance = glance
        self._context = context
        self._resolver = Resolver(origin)
        self._selector: selectors.BaseSelector | None = None
        self._watched: dict[Connection, _Watch] = {}

    def open(self, now: float, deadline: float) -> Connection:
        """A new connection, dialling. Raises BackendError `unreachable`."""
        addresses = self._resolver.addresses(min(deadline, now + self._timeouts.connect))
        return Connection(self._origin, addresses, self._context, self._timeouts, self._glance, now)

    def watch(self, connection: Connection) -> None:
        """Wait for what the connection wants now. Its socket may be a new one that got the old one's descriptor."""
        known = self._watched.get(connection)
        if known is not None and known.sock is connection.sock and known.events == connection.wants:
            return
        selector = self._selector = self._selector or selectors.DefaultSelector()
        self._forget(connection)
        descriptor = connection.sock.fileno()
        selector.register(descriptor, connection.wants, connection)
        self._watched[connection] = _Watch(connection.sock, descriptor, connection.wants)

    def wait(self, timeout: float) -> list[Connection]:
        """Those connections that are ready for what they wait for, idle ones that were hung up on included."""
        if self._selector is None:
            return []
        return [key.data for key, _ in self._selector.select(max(0.0, timeout))]

    def discard(self, connection: Connection) -> None:
        """Close a connection, idle or not."""
        if connection in self.idle:
            self.idle.remove(connection)
        self._forget(connection)
        connection.close()

    def close(self) -> None:
        """Close every connection. The pool can be used again."""
        for connection in tuple(self._watched):
            self.discard(connection)
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def _forget(self, connection: Connection) -> None:
        known = self._watched.pop(connection, None)
        if known is not None and self._selector is not None:
            self._selector.unregister(known.descriptor)
