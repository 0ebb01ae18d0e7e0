"""A small HTTP server on the supervisor's own loop: no thread, no further process, GET of a few fixed paths.

Whoever connects may be slow, silent or hostile. Each connection has one deadline for everything, a bound on what it may
send, and is one of a bounded number: a new one then takes the place of the oldest that has asked for nothing yet.
Nothing here ever waits.
"""

from __future__ import annotations

import errno
import select
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLIENT_SECONDS = 5.0
CLIENT_LIMIT = 64
REST_SECONDS = 1.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REQUEST_LIMIT = 8192
_UNIX = "unix:"
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Page(NamedTuple):
    """An answer: status code, text, and what kind of text it is."""

    status: int
    text: str
    type: str = "text/plain; charset=utf-8"


@dataclass(slots=True)
class _Client:
    """One connection: what it has sent, what it has still to be sent, and when its time is over."""

    socket: socket.socket
    deadline: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class Endpoint:
    """Answers GET requests for `pages`: a path, and the function that makes its page when it is asked for."""

    def __init__(self, address: str, pages: Mapping[str, Callable[[], Page]]) -> None:
        """Listen on `host:port` or `unix:/path`. Raises OSError."""
        self.address = address
        self._pages = pages
        self._listener = _listen(address)
        self._inode = _inode(address)
        self._clients: dict[int, _Client] = {}
        self._resting_until = 0.0

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""
        if now >= self._resting_until and self._may_accept():
            yield self._listener.fileno(), select.POLLIN
        for fd, client in self._clients.items():
            yield fd, select.POLLOUT if client.answer else select.POLLIN

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them."""
        return (self._listener.fileno(), *self._clients)

    def next_due(self, now: float) -> float:
        """Seconds until the first client's time is over, or a rest is."""
        times = [client.deadline for client in self._clients.values()]
        if self._resting_until > now:
            times.append(self._resting_until)
        return min(times, default=float("inf")) - now

    def turn(self, ready: set[int], now: float) -> None:
        """Serve those that are ready, and part with those whose time is over."""
        if self._listener.fileno() in ready:
            self._accept(now)
        for fd, client in list(self._clients.items()):
            if now >= client.deadline or (fd in ready and not self._serve(client)):
                del self._clients[fd]
                client.socket.close()

    def part_with_all(self) -> bool:
        """Hang up on every client. Whether there was one."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.socket.close()
        return bool(clients)

    def close(self) -> None:
        """Stop listening, and part with everybody. A socket's file goes, unless it is somebody else's by now."""
        self.part_with_all()
        with suppress(OSError):
            if self._inode is not None and _inode(self.address) == self._inode:
                Path(self.address.removeprefix(_UNIX)).unlink()
        self._listener.close()

    def _accept(self, now: float) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            try:
                for _ in range(CLIENT_LIMIT):
                    if not self._may_accept():
                        return
                    accepted, _ = self._listener.accept()
                    self._welcome(accepted, now)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # The caller waits on, and would wake us again and again: nobody is accepted for a while instead.
                    self._resting_until = now + REST_SECONDS
                else:
                    raise

    def _may_accept(self) -> bool:
        return len(self._clients) < CLIENT_LIMIT or any(client.answer is None for client in self._clients.values())

    def _welcome(self, accepted: socket.socket, now: float) -> None:
        if len(self._clients) >= CLIENT_LIMIT and not self._part_with_a_silent_one():
            accepted.close()
            return
        accepted.setblocking(False)
        self._clients[accepted.fileno()] = _Client(accepted, now + CLIENT_SECONDS)

    def _part_with_a_silent_one(self) -> bool:
        """Close the oldest connection that has not sent a whole request; False if all have."""
        for fd, client in list(self._clients.items()):
            # A request may have arrived that we have not yet looked for.
            if client.answer is None and not (self._serve(client) and client.answer):
                del self._clients[fd]
                client.socket.close()
                return True
        return False

    def _serve(self, client: _Client) -> bool:
        """One step for one client; False when we are done with it."""
        try:
            if client.answer is None:
                return self._read(client)
            client.answer = client.answer[client.socket.send(client.answer) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return len(client.answer) > 0

    def _read(self, client: _Client) -> bool:
        data = client.socket.recv(REQUEST_LIMIT)
        client.request += data
        if not data or len(client.request) > REQUEST_LIMIT:
            return False
        if b"\r\n\r\n" in client.request or b"\n\n" in client.request:
            client.answer = memoryview(self._answer(bytes(client.request)))
        return True

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\n", 1)[0].decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            page = Page(400, "This is HTTP/1.1, and that was not.\n")
        elif words[0] not in ("GET", "HEAD"):
            page = Page(405, "GET and HEAD are what there is.\n")
        else:
            make = self._pages.get(words[1].partition("?")[0])
            page = make() if make else Page(404, "There is " + " ".join(self._pages) + "\n")
        body = page.text.encode()
        head = (
            f"HTTP/1.1 {page.status} {_PHRASES[page.status]}\r\nContent-Type: {page.type}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if words[:1] == ["HEAD"] else body)


def _listen(address: str) -> socket.socket:
    if address.startswith(_UNIX):
        return _listening(socket.AF_UNIX, address.removeprefix(_UNIX))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return _listening(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port)))


def _listening(family: socket.AddressFamily, target: str | tuple[str, int]) -> socket.socket:
    listener = socket.socket(family)
    try:
        if isinstance(target, str):
            _bind_file(listener, target)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
        listener.listen(CLIENT_LIMIT)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_file(listener: socket.socket, path: str) -> None:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_abandoned(path):
            raise
        Path(path).unlink()
        listener.bind(path)


def _is_abandoned(path: str) -> bool:
    """Whether this is the file of a socket on which nobody listens: a daemon that was killed could not remove it."""
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)  # whoever listens there may be too busy to accept
        return client.connect_ex(path) == errno.ECONNREFUSED


def _inode(address: str) -> tuple[int, int] | None:
    if not address.startswith(_UNIX):
        return None
    status = Path(address.removeprefix(_UNIX)).lstat()
    return status.st_dev, status.st_ino
