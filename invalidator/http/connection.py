"""One keep-alive connection that never blocks: dial, shake hands, send, receive. Its owner says when it may go on."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from errno import EINPROGRESS
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from invalidator.errors import BackendError
from invalidator.http.parser import ResponseParser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invalidator.http.glance import Glance
    from invalidator.http.origin import Origin
    from invalidator.http.resolver import Address
    from invalidator.http.response import Response

_READ_SIZE = 64 * 1024
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: until a connection stands, TLS included. `read`: the longest silence before or within an
    answer. `total`: from a request's first byte to its answer's last, so that one byte a second is not for ever."""

    connect: float = 1.0
    read: float = 2.0
    total: float = 5.0


class Connection:
    """Carries the requests of one `start` at a time. Any BackendError from here: close it, its state is unknown."""

    def __init__(
        self,
        origin: Origin,
        addresses: Sequence[Address],
        context: ssl.SSLContext | None,
        timeouts: Timeouts,
        glance: Glance,
        now: float,
    ) -> None:
        self.ready = False
        """Whether it stands. A failure before that says nothing about any request: none was sent."""
        self.served = 0
        """How many answers have come over it."""
        self.reusable = True
        """Whether it may carry other requests after its latest answer."""
        self.together = 1
        """How many requests the latest `start` began."""
        self.wants = EVENT_WRITE
        """What to wait for, as a mask for a selector."""
        self.due = now + timeouts.connect
        """When patience ends (monotonic seconds)."""
        self._origin = origin
        self._addresses = list(addresses)
        self._context = context
        self._timeouts = timeouts
        self._glance = glance
        self._total_due = _NEVER
        self._owed = 0
        self._head = False
        self._begun = False
        self._parser: ResponseParser | None = None
        self._unsent = memoryview(b"")
        self.sock = self._dial()

    @property
    def stale(self) -> bool:
        """Whether the request was the first to learn that the server had hung up long ago: it may be sent once more."""
        return self.served > 0 and self._owed > 0 and not self._begun

    def start(self, wire: bytes, now: float, *, count: int = 1, head: bool = False) -> None:
        """Begin so many requests (`head`: it is a HEAD); they go out as soon as the connection stands."""
        self._owed = self.together = count
        self._head = head
        self._begun, self._parser = False, None
        self._unsent = memoryview(wire)
        if self.ready:
            self._begin(now)

    def advance(self, now: float) -> Iterable[Response]:
        """Do what the socket is ready for. Gives the answers that are complete, in order. Raises BackendError."""
        if self.ready and self._owed:
            if self._unsent:
                self._send()
            return self._receive(now)
        if self.ready:
            self._idle()
        elif self._establish():
            self._begin(now)
        return ()

    def late(self) -> BackendError:
        """The error for a connection whose patience has ended."""
        if not self.ready:
            return BackendError("timeout", f"{self._origin}: no connection in {self._timeouts.connect:g} s")
        return BackendError("timeout", f"{self._origin}: no complete answer in time")

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self.sock.close()

    def _dial(self) -> socket.socket:
        fault = "no address"
        while self._addresses:
            family, sockaddr = self._addresses.pop(0)
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(sockaddr)
            if code in {0, EINPROGRESS}:
                return sock
            sock.close()
            fault = os.strerror(code)
        raise BackendError("unreachable", f"{self._origin}: {fault}")

    def _establish(self) -> bool:
        if isinstance(self.sock, ssl.SSLSocket):
            self._shake(self.sock)
        else:
            self._dialled()
        return self.ready

    def _dialled(self) -> None:
        if code := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            if not self._addresses:
                raise BackendError("unreachable", f"{self._origin}: {os.strerror(code)}")
            self.sock.close()
            self.sock = self._dial()
            return
        if self._context is None:
            self.ready = True
            return
        try:
            self.sock = sock = self._context.wrap_socket(
                self.sock, do_handshake_on_connect=False, server_hostname=self._origin.host
            )
        except OSError as error:
            raise BackendError("unreachable", f"{self._origin}: TLS: {error}") from error
        self._shake(sock)

    def _shake(self, sock: ssl.SSLSocket) -> None:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = EVENT_WRITE
        except OSError as error:
            raise BackendError("unreachable", f"{self._origin}: TLS: {error}") from error
        else:
            self.ready = True
            self.wants = EVENT_READ

    def _begin(self, now: float) -> None:
        self._total_due = now + self._timeouts.total
        self._patience(now)
        self._send()

    def _patience(self, now: float) -> None:
        self.due = min(now + self._timeouts.read, self._total_due)

    def _send(self) -> None:
        self.wants = EVENT_READ
        while self._unsent:
            try:
                sent = self.sock.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.wants = EVENT_READ | EVENT_WRITE
                return
            except ssl.SSLWantReadError:
                return
            except OSError:
                # It may have answered before it hung up, 413 for one: the answer, or its absence, is read next.
                self._unsent = self._unsent[:0]
                return
            self._unsent = self._unsent[sent:]

    def _receive(self, now: float) -> Iterator[Response]:
        while True:
            try:
                data = self.sock.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except ssl.SSLWantWriteError:
                self.wants = EVENT_READ | EVENT_WRITE
                return
            except OSError as error:
                raise BackendError("closed", f"{self._origin}: {error.strerror or error}") from error
            for response in self._read(data) if data else (self._end(),):
                self.served += 1
                self._owed -= 1
                self._begun, self._parser = False, None
                # An answer has its time from when it is its turn.
                self._total_due = now + self._timeouts.total
                yield response
            if not self._owed:
                self._rest()
                return
            self._patience(now)
            if not (self.reusable and isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                return

    def _read(self, data: bytes) -> Iterator[Response]:
        """The answers that these bytes complete; what is left of them is the beginning of the next."""
        place = 0
        while self._owed and self.reusable and place < len(data):
            seen = self._glance.at(data, place) if not (self._begun or self._head) else None
            if seen is not None:
                place = seen.end
                yield seen.response
                continue
            self._begun = True
            parser = self._parser = self._parser or ResponseParser(head=self._head, limits=self._glance.limits)
            response = parser.feed(data[place:])
            if response is None:
                return
            data, place = parser.surplus, 0
            self.reusable = response.reusable
            yield response
        if place < len(data):
            self.reusable = False  # nobody asked for that

    def _end(self) -> Response:
        self.reusable = False
        if self._parser is None:
            raise BackendError("closed", f"{self._origin}: the connection ended before the response did")
        return self._parser.end()

    def _rest(self) -> None:
        self.reusable = self.reusable and not self._unsent
        self._unsent = memoryview(b"")
        self._total_due = self.due = _NEVER

    def _idle(self) -> None:
        """Readable without a request: TLS may have something to say, HTTP has not."""
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            pass
        raise BackendError("closed", f"{self._origin}: hung up")
