"""One connection: redis-py opens it (URLs, TLS), and we speak over its socket, so that nothing outlasts a deadline.

This is the only file here that touches what redis-py does not promise to keep: the socket of a Connection.
"""

from __future__ import annotations

import select
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from invalidator.errors import BackendError
from invalidator.secret_file import read_password
from invalidator_redis.commands import packed
from invalidator_redis.places import shown
from invalidator_redis.refusals import refusal

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from invalidator.topology.redis_url import RedisUrl
    from invalidator_redis.commands import Command
    from invalidator_redis.options import RedisOptions

Reply = Any
"""What hiredis makes of one: bytes, int, None, a list of them, or a hiredis.ReplyError."""

RedisConnection = Any
"""redis-py's own: a redis.Connection of one of its kinds, which is untyped where we need it."""

_READ_SIZE = 1 << 16
_NOT_YET = object()


class Connection:
    """Made connected, authenticated and in its database. After any BackendError it is out of step: close it."""

    def __init__(self, options: RedisOptions, deadline: float) -> None:
        self._timeout = options.timeout
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._connection = _open(options, self._patience(deadline))
        self._socket: socket.socket | ssl.SSLSocket = self._connection._sock  # noqa: SLF001
        try:
            # With a timeout, Python would ask the kernel three times for each read: it sets the timeout, waits, reads.
            # Each of them lets go of the interpreter, and gets it back when the loop that hears messages lets go.
            self._socket.setblocking(False)
            self._introduce(deadline)
        except BaseException:
            self.close()
            raise

    def is_idle(self) -> bool:
        """Whether it is open and nothing has arrived. Anything else, a goodbye included, makes it useless."""
        return not _ready(self._socket, select.POLLIN, 0.0)

    def ask(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        """One reply to each command, in their order; errors are among them. Raises BackendError."""
        replies: list[Reply] = []
        self.collect(commands, replies, deadline)
        return replies

    def collect(self, commands: Sequence[Command], replies: list[Reply], deadline: float) -> None:
        """The same into `replies`, which has what had arrived when an error ends it. Raises BackendError.

        All is sent before anything is read: Redis keeps its replies in its own memory and goes on reading.
        """
        try:
            self._send(packed(commands), deadline)
            while len(replies) < len(commands):
                self._receive(replies, deadline)
        except TimeoutError as error:
            raise BackendError("timeout", "no answer in time") from error
        except OSError as error:
            raise BackendError("closed", error.strerror or "connection lost") from error
        except hiredis.ProtocolError as error:
            raise BackendError("protocol", "an answer that is not Redis'") from error
        if len(replies) > len(commands) or self._reader.has_data():
            raise BackendError("protocol", "more answers than questions")

    def close(self) -> None:
        # redis-py says goodbye with a shutdown, which fails where the server was faster.
        with suppress(Exception):
            self._connection.disconnect()

    def _introduce(self, deadline: float) -> None:
        who = self._connection
        user = [who.username] if who.username else []
        commands: list[Command] = [("AUTH", *user, who.password)] if who.password else []
        commands += [("SELECT", who.db), ("PING",)]
        for reply in self.ask(commands, deadline):
            if isinstance(reply, hiredis.ReplyError):
                raise refusal(str(reply))
            if reply not in (b"OK", b"PONG"):
                raise BackendError("protocol", "an answer that fits no question")

    def _send(self, wire: bytes, deadline: float) -> None:
        unsent = memoryview(wire)
        while unsent:
            self._patience(deadline)  # who is always ready is not waited for, and must not go on for ever either
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)

    def _receive(self, replies: list[Reply], deadline: float) -> None:
        self._patience(deadline)
        try:  # before it waits: TLS may hold what the kernel has no more, and in a busy process the answer is there
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._wait(select.POLLIN, deadline)
            return
        except ssl.SSLWantWriteError:
            self._wait(select.POLLOUT, deadline)
            return
        if not data:
            raise BackendError("closed", "the server closed the connection")
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _NOT_YET:
            replies.append(reply)

    def _wait(self, events: int, deadline: float) -> None:
        if not _ready(self._socket, events, self._patience(deadline)):
            raise BackendError("timeout", "no answer in time")

    def _patience(self, deadline: float) -> float:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise BackendError("timeout", "the deadline has passed")
        return min(remaining, self._timeout)


def _ready(connection: socket.socket | ssl.SSLSocket, events: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(connection, events)
    return bool(poll.poll(seconds * 1000))


def _open(options: RedisOptions, patience: float) -> RedisConnection:
    """A connected, not yet authenticated Connection. Raises BackendError."""
    connection = _prepared(options, patience)
    try:
        connection.connect()
    except redis.TimeoutError as error:
        raise BackendError("timeout", f"{shown(options.url)} does not accept a connection") from error
    except (redis.RedisError, OSError) as error:
        reason = error.__context__ or error  # redis-py's own text would name the place again
        raise BackendError(
            "unreachable", f"{shown(options.url)}: {getattr(reason, 'strerror', '') or reason}"
        ) from error
    return connection


def _prepared(options: RedisOptions, patience: float) -> RedisConnection:
    try:
        arguments: dict[str, Any] = parse_url(options.url.reveal())  # type: ignore[no-untyped-call]
        if options.password_file:
            arguments["password"] = _password_in(options.password_file)
        make = arguments.pop("connection_class", redis.Connection)
        connection: RedisConnection = make(
            **arguments
            | _where(options.url)
            | {
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
                "socket_connect_timeout": patience,
                "socket_timeout": patience,
                "health_check_interval": 0,
                # Its own handshake has a timeout for each step, not one deadline: _introduce() does it instead.
                "redis_connect_func": _say_nothing,
            }
        )
    except OSError as error:  # redis-py looks up its own version on the disk, for which no descriptor may be left
        raise BackendError("unreachable", f"{shown(options.url)}: {error.strerror or error}") from error
    except (TypeError, ValueError, redis.RedisError) as error:
        # The text may quote the URL.
        raise BackendError("unsupported", "url: redis-py does not understand its options", retry=False) from error
    return connection


def _password_in(file: Path) -> str:
    try:
        return read_password(file)
    except OSError as error:
        raise BackendError("auth", f"password_file cannot be read: {error.strerror}", retry_after=1.0) from error


def _where(url: RedisUrl) -> dict[str, Any]:
    # What was checked is what is used: redis-py would also let the options behind the ? say where to go.
    if url.path:
        return {"path": url.path, "db": url.database}
    ((host, port),) = url.hosts
    return {"host": host, "port": port, "db": url.database}


def _say_nothing(connection: RedisConnection) -> None:
    del connection
