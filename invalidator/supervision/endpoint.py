"""A small HTTP server on the supervisor's own loop: no thread, no further process, GET of a few fixed paths.

Whoever connects may be slow, silent or hostile. Each connection has one deadline for everything, a bound on what it may
send, and is one of a bounded number; nothing here ever waits.
"""

from __future__ import annotations

import errno
import select
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLIENT_SECONDS = 5.0
CLIENT_LIMIT = 64
REST_SECONDS = 1.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REQUEST_LIMIT = 8192
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
        self._clients: dict[int, _Client] = {}
        self._resting_until = 0.0

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""
        if len(self._clients) < CLIENT_LIMIT and now >= self._resting_until:
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

    def close(self) -> None:
        """Stop listening, and part with everybody."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._listener.close()

    def _accept(self, now: float) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            try:
                while len(self._clients) < CLIENT_LIMIT:
                    accepted, _ = self._listener.accept()
                    accepted.setblocking(False)
                    self._clients[accepted.fileno()] = _Client(accepted, now + CLIENT_SECONDS)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # The caller waits on, and would wake us again and again: nobody is accepted for a while instead.
                    self._resting_until = now + REST_SECONDS
                else:
                    raise

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
    if address.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX)
        target: str | tuple[str, int] = address.removeprefix("unix:")
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        target = (host, int(port))
    try:
        listener.bind(target)
        listener.listen(CLIENT_LIMIT)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
