"""The connection to Redis: redis-py opens it, and we read its socket ourselves.

redis-py knows URLs, TLS and authentication. Its own retries are off, as they would hide the very gaps that we
must see. This is the only file that touches what redis-py does not promise to keep: the socket of a Connection.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from invalidator.wire.identity import identify
from invalidator.wire.options import OF_FEW_WORDS, UNINTRODUCED
from invalidator.wire.route import route_to

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Identity
    from invalidator.wire.route import Route

NEWS_SECONDS = 0.25
"""How often to look for another password, after one was refused."""
READ_SIZE = 65_536
"""16 to 64 KiB a read is best; a buffer of 1 MiB is four times slower."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No connection: what went wrong, for a person, and whether it is a matter of credentials."""

    detail: str
    auth: bool = False


class Link:
    """An open connection: bytes out, bytes in, never waiting.

    `server` is who is at its other end. `relays`: what is published at other servers is heard here too.
    """

    def __init__(self, connection: redis.Connection, server: Identity, *, relays: bool = False) -> None:
        self.server = server
        self.relays = relays
        self._connection = connection  # held: redis-py closes the socket of a Connection that is collected
        self._socket: socket.socket = connection._sock  # type: ignore[assignment]  # noqa: SLF001  # it is connected
        self._socket.setblocking(False)
        self.gives_all = not isinstance(self._socket, ssl.SSLSocket)
        """Whether a read of less than READ_SIZE was all that there is: with TLS, it was one record."""

    def fileno(self) -> int:
        """For a selector. With TLS, read until nothing is left before waiting: the rest is not in the kernel."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """What has arrived, at most READ_SIZE bytes; b"" at the end of the stream, None if nothing is there now.

        Raises OSError when the connection is broken.
        """
        try:
            return self._socket.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: bytes) -> None:
        """Send a command. Raises OSError, also when the socket's buffer is full: then nobody reads it."""
        if self._socket.send(data) != len(data):
            raise OSError("the send buffer is full: Redis has stopped reading")

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(Exception):
            self._connection.disconnect()


def connect(route: Route, name: str) -> Link:
    """Open a connection that shows as `name` in CLIENT LIST. Blocks: on DNS for as long as the resolver likes.

    Raises redis.RedisError or OSError.
    """
    connection = route.open(client_name=name, **UNINTRODUCED, **OF_FEW_WORDS)  # the rest is read by a Link
    try:
        connection.connect()
        server = identify(connection)
        route.check(server, to_listen=True)
    except BaseException:
        with contextlib.suppress(Exception):
            connection.disconnect()
        raise
    return Link(connection, server, relays=route.relays)


def open_connection(settings: RedisSettings, **options: Any) -> redis.Connection:
    """A redis-py Connection for these settings, for a short conversation. Raises redis.RedisError or OSError."""
    route = route_to(settings)
    try:
        return route.open(**options)
    finally:
        route.close()


def explain(error: Exception) -> Refused:
    """What went wrong while connecting. Nothing secret: redis-py quotes hosts and the server's words, no more."""
    text = str(error) or type(error).__name__
    auth = isinstance(error, redis.AuthenticationError) or any(
        word in text for word in ("NOAUTH", "WRONGPASS", "invalid username-password", "Authentication required")
    )
    return Refused(text, auth)


class Connector:
    """Connects in a thread of its own, one attempt at a time.

    DNS, TCP, TLS and AUTH can each block for longer than the worker may be silent, and none of them can be cancelled.
    `secret` is the file that the password is read from at each attempt.
    """

    def __init__(self, connect: Callable[[], Link], wake: Callable[[], None], secret: Path | None = None) -> None:
        self._connect = connect
        self._wake = wake
        self._secret = secret
        self._used: object = None
        self._outcomes: queue.SimpleQueue[Link | Refused] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin an attempt. `wake` is called, from the thread, when there is an outcome."""
        self._used = self._version()
        threading.Thread(target=self._run, name="connect", daemon=True).start()

    def outcome(self, patience: float = 0.0) -> Link | Refused | None:
        """What became of the attempt, once; None while it goes on, after so many seconds."""
        try:
            return self._outcomes.get(block=patience > 0, timeout=patience)
        except queue.Empty:
            return None

    def has_news(self) -> bool:
        """Whether the secret's file is another one than at the last attempt."""
        return self._version() != self._used

    def _version(self) -> object:
        try:
            found = self._secret.stat() if self._secret else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_mtime_ns, found.st_size)

    def _run(self) -> None:
        try:
            self._outcomes.put(self._connect())
        except Exception as error:  # noqa: BLE001  # whatever it is, the loop must hear of it or would wait for ever
            self._outcomes.put(explain(error))
        self._wake()
