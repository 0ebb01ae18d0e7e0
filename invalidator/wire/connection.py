"""The connection to Redis: redis-py opens it, and we read its socket ourselves.

redis-py knows URLs, TLS, authentication and Sentinel. Its own retries are off, as they would hide the very gaps that we
must see. This is the only file that touches what redis-py does not promise to keep: the socket of a Connection.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from invalidator.secret_file import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.topology.models import RedisSettings

READ_SIZE = 65_536
"""16 to 64 KiB a read is best; a buffer of 1 MiB is four times slower."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No connection: what went wrong, for a person, and whether it is a matter of credentials."""

    detail: str
    auth: bool = False


class Link:
    """An open connection: bytes out, bytes in, never waiting."""

    def __init__(self, connection: redis.Connection) -> None:
        self._connection = connection  # held: redis-py closes the socket of a Connection that is collected
        self._socket: socket.socket = connection._sock  # type: ignore[assignment]  # noqa: SLF001  # it is connected
        self._socket.setblocking(False)

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


def connect(settings: RedisSettings, name: str) -> Link:
    """Open a connection that shows as `name` in CLIENT LIST. Blocks: on DNS for as long as the resolver likes.

    Raises redis.RedisError or OSError.
    """
    connection = open_connection(settings, client_name=name)
    connection.connect()
    return Link(connection)


def open_connection(settings: RedisSettings, **options: Any) -> redis.Connection:
    """A redis-py Connection for these settings, not connected yet. Reads the password's file: it may have changed."""
    patience = settings.heartbeat.deadline
    options |= {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": patience,
        "socket_timeout": patience,
        "health_check_interval": 0,
        "protocol": 2,  # RESP3 costs 15 % of the throughput and gives a subscription nothing
    }
    url = settings.url.get_secret_value()
    if settings.password_file:
        options["password"] = read_secret(settings.password_file).decode().strip("\r\n")
    if url.startswith("redis+sentinel://"):
        return _through_sentinel(url, options)
    if not url.startswith("unix://"):
        options |= {"socket_keepalive": True, "socket_keepalive_options": _keepalive(patience)}
    # redis-py lets what the URL says win over arguments, but a password's file is the newer word.
    if "password" in options:
        url = _without_password(url)
    return cast("redis.Connection", redis.ConnectionPool.from_url(url, **options).make_connection())


def _keepalive(patience: float) -> dict[int, int]:
    # The second line behind our own PING: the kernel gives up on unacknowledged data by itself.
    return {socket.TCP_USER_TIMEOUT: int(patience * 1000)} if hasattr(socket, "TCP_USER_TIMEOUT") else {}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.split(':')[0]}@{host}" if user.split(":")[0] else host).geturl()


def _through_sentinel(url: str, options: dict[str, Any]) -> redis.Connection:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    nodes = [_node(item) for item in hosts.split(",")]
    username, _, password = credentials.partition(":")
    patience = {
        "socket_connect_timeout": options["socket_connect_timeout"],
        "socket_timeout": options["socket_timeout"],
    }
    sentinel = Sentinel(nodes, sentinel_kwargs={**patience, "protocol": 2, "retry": Retry(NoBackoff(), 0)})
    try:
        host, port = sentinel.discover_master(service)
    except MasterNotFoundError as error:
        raise redis.ConnectionError(f"no Sentinel knows a master {service!r}: {error}") from None
    finally:
        for client in sentinel.sentinels:
            client.close()
    if username:
        options["username"] = unquote(username)
    if password and "password" not in options:
        options["password"] = unquote(password)
    options["socket_keepalive"] = True
    return redis.Connection(host=host, port=port, db=int(database or 0), **options)


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "26379")
    return host, int(port)


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
    """

    def __init__(self, connect: Callable[[], Link], wake: Callable[[], None]) -> None:
        self._connect = connect
        self._wake = wake
        self._outcomes: queue.SimpleQueue[Link | Refused] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin an attempt. `wake` is called, from the thread, when there is an outcome."""
        threading.Thread(target=self._run, name="connect", daemon=True).start()

    def outcome(self) -> Link | Refused | None:
        """What became of the attempt, once; None while it goes on."""
        try:
            return self._outcomes.get_nowait()
        except queue.Empty:
            return None

    def _run(self) -> None:
        try:
            self._outcomes.put(self._connect())
        except Exception as error:  # noqa: BLE001  # whatever it is, the loop must hear of it or would wait for ever
            self._outcomes.put(explain(error))
        self._wake()
