"""One connection to one node: a non-blocking socket that waits past no deadline, nor for a node that says nothing."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any

from invalidator.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_SIZE = 1 << 16
_SEND_SIZE = 1 << 18


class Connection:
    """Made connected. After any error it is out of step: whoever holds it must close it."""

    def __init__(self, address: str, deadline: float, timeout: float) -> None:
        self._timeout = timeout
        self._socket = _connected(address, min(deadline, time.monotonic() + timeout))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def is_idle(self) -> bool:
        """Whether it is open and nothing has arrived. Anything else, the node's goodbye included, makes it useless."""
        return not self._poll.poll(0)

    def exchange(self, wire: bytes, feed: Callable[[bytes], bool], deadline: float) -> None:
        """Send `wire` and hand over what comes back, until `feed` says that it was all. Raises BackendError.

        Both at once: a node stops reading while its answers are not read, and with two full buffers both sides would
        wait for each other.
        """
        unsent = memoryview(wire)
        while True:
            events = self._wait(select.POLLIN | (select.POLLOUT if unsent else 0), deadline)
            if events & ~select.POLLOUT and feed(self.receive()):
                return
            if events & select.POLLOUT:
                unsent = unsent[self.send(unsent) :]

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes:
        """What has arrived; nothing if that is nothing. Never waits. Raises BackendError."""
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise BackendError("closed", error.strerror or "connection lost") from error
        if not data:
            raise BackendError("closed", "the node closed the connection")
        return data

    def send(self, unsent: memoryview | bytes) -> int:
        """How many of these bytes could be sent. Never waits. Raises BackendError."""
        try:
            return self._socket.send(unsent[:_SEND_SIZE])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise BackendError("closed", error.strerror or "connection lost") from error

    def close(self) -> None:
        self._socket.close()

    def _wait(self, events: int, deadline: float) -> int:
        remaining = deadline - time.monotonic()
        # The deadline is looked at first: a node that sends a byte now and then would otherwise be waited for for ever.
        ready = _ready(self._socket, events, min(remaining, self._timeout)) if remaining > 0 else 0
        if not ready:
            raise BackendError("timeout", "no answer in time")
        return ready


def _connected(address: str, deadline: float) -> socket.socket:
    error = OSError("no address")
    for family, target in _resolve(address):
        try:
            return _connect(family, target, deadline)
        except OSError as failed:
            error = failed
    if isinstance(error, TimeoutError):
        raise BackendError("timeout", f"{address} does not accept a connection") from error
    raise BackendError("unreachable", f"{address}: {error.strerror or error}") from error


def _resolve(address: str) -> list[tuple[int, Any]]:
    if address.startswith("unix:"):
        return [(socket.AF_UNIX, address.removeprefix("unix:"))]
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise BackendError("unreachable", f"{address}: {error.strerror or error}") from error
    return [(family, target) for family, _, _, _, target in found]


def _connect(family: int, target: Any, deadline: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        connection.connect(target)
        connection.setblocking(False)
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _ready(connection: socket.socket, events: int, seconds: float) -> int:
    poll = select.poll()
    poll.register(connection, events)
    ready = poll.poll(seconds * 1000)
    return ready[0][1] if ready else 0
