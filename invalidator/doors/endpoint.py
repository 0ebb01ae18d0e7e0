"""A small HTTP server on the supervisor's own loop: no thread, no further process, GET of a few fixed paths.

Whoever connects may be slow, silent or hostile. Each connection has one deadline for everything, a bound on what it may
send, and is one of a bounded number: a new one then takes the place of the oldest that has asked for nothing yet.
Nothing here ever waits.
"""

from __future__ import annotations

import select
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from invalidator import logs
from invalidator.doors.listener import Listener
from invalidator.slots import clock

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

CLIENT_SECONDS = 5.0
CLIENT_LIMIT = 64
BACKLOG = 1024
"""Connections that the kernel accepts for us. Beyond it drops them, and whoever comes next, a health check say, waits a
second before it tries again."""
REQUEST_LIMIT = 8192
TURN_SECONDS = 0.02
"""For so long a turn serves clients; whoever is left is served in the next one. The loop has workers to look after."""
COSTLY = 0.01
_SHARE = 10
"""A page that took longer than COSTLY seconds is shown again for so many times as long: those who look on, however many
and however often, leave the loop nine tenths of its time. A cheaper one is always new."""
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Page(NamedTuple):
    """An answer: status code, text, what kind of text it is, and further headers, which the caller answers for."""

    status: int
    text: str
    type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


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
        self._listener = Listener(address, BACKLOG)
        self._clients: dict[int, _Client] = {}
        self._made: dict[str, _Made] = {}

    def is_there(self) -> bool:
        """Whether its address still leads here."""
        return self._listener.is_there()

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""
        if not self._listener.rest(now) and self._may_accept():
            yield self._listener.fileno(), select.POLLIN
        for fd, client in self._clients.items():
            yield fd, select.POLLOUT if client.answer else select.POLLIN

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them."""
        return (self._listener.fileno(), *self._clients)

    def next_due(self, now: float) -> float:
        """Seconds until the first client's time is over, or a rest is."""
        times = [client.deadline - now for client in self._clients.values()]
        if rest := self._listener.rest(now):
            times.append(rest)
        return min(times, default=float("inf"))

    def turn(self, ready: set[int], now: float) -> None:
        """Serve those that are ready, and part with those whose time is over."""
        begun = clock()
        until = begun + TURN_SECONDS
        self._made = {path: made for path, made in self._made.items() if begun < made.good_until}
        if self._listener.fileno() in ready:
            self._accept(now)
        for fd, client in list(self._clients.items()):
            is_turn = fd in ready and clock() < until
            if now >= client.deadline or (is_turn and not self._serve(client)):
                del self._clients[fd]
                client.socket.close()

    def part_with_all(self) -> bool:
        """Hang up on every client. Whether there was one."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.socket.close()
        return bool(clients)

    def close(self) -> None:
        """Stop listening, and part with everybody."""
        self.part_with_all()
        self._listener.close()

    def _accept(self, now: float) -> None:
        for _ in range(CLIENT_LIMIT):
            if not self._may_accept() or (accepted := self._listener.accept(now)) is None:
                return
            self._welcome(accepted, now)

    def _may_accept(self) -> bool:
        return len(self._clients) < CLIENT_LIMIT or any(client.answer is None for client in self._clients.values())

    def _welcome(self, accepted: socket.socket, now: float) -> None:
        if len(self._clients) >= CLIENT_LIMIT and not self._part_with_a_silent_one():
            accepted.close()
            return
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
            answer = _answered(Page(400, "This is HTTP/1.1, and that was not.\n"))
        elif words[0] not in ("GET", "HEAD"):
            answer = _answered(Page(405, "GET and HEAD are what there is.\n"))
        else:
            answer = self._page(words[1].partition("?")[0])
        return answer.head if words[:1] == ["HEAD"] else answer.head + answer.body

    def _page(self, path: str) -> _Answer:
        make = self._pages.get(path)
        if make is None:
            return _answered(Page(404, "There is " + " ".join(self._pages) + "\n"))
        if path not in self._made:
            # Made once for all who ask in the same turn: a crowd costs no more than the largest page.
            self._made[path] = _made(make, path)
        return self._made[path].answer


class _Answer(NamedTuple):
    head: bytes
    body: bytes


class _Made(NamedTuple):
    """An answer, and until when it may be given again in another turn."""

    answer: _Answer
    good_until: float


def _made(make: Callable[[], Page], path: str) -> _Made:
    begun = time.thread_time()  # not the clock: on a busy machine every page would seem costly
    answer = _answered(_page(make, path))
    cost = time.thread_time() - begun
    return _Made(answer, clock() + cost * _SHARE if cost > COSTLY else 0.0)


def _page(make: Callable[[], Page], path: str) -> Page:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  whoever looks on must not be able to end the daemon, by no bug of ours
        trace = traceback.format_exc()[-2000:]
        logs.get_logger().error("page.failed", path=path, error=repr(error), traceback=trace)
        return Page(500, "A bug of ours; the log has it.\n")


def _answered(page: Page) -> _Answer:
    body = page.text.encode(errors="replace")
    headers = "".join(f"{name}: {value}\r\n" for name, value in page.headers)
    head = (
        f"HTTP/1.1 {page.status} {_PHRASES[page.status]}\r\nContent-Type: {page.type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}"
        "Connection: close\r\n\r\n"
    )
    return _Answer(head.encode(), body)
