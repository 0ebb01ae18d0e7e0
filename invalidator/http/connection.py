"""One keep-alive connection that never blocks: dial, shake hands, send, receive. Its owner says when it may go on."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from errno import EINPROGRESS
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from invalidator.errors import BackendError
from invalidator.http.parser import Limits, Response, ResponseParser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.http.origin import Origin
    from invalidator.http.resolver import Address

_READ_SIZE = 64 * 1024
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: until a connection stands, TLS included. `read`: the longest silence before or within an
    answer. `total`: from a request's first byte to its answer's last, so that one byte a second is not for ever."""

    connect: float = 1.0
    read: float = 2.0
    total: float = 5.0


class _Phase(Enum):
    DIALLING = auto()
    HANDSHAKE = auto()
    READY = auto()


class Connection:
    """Carries one request at a time. Any BackendError from here means: close it, its state is unknown."""

    def __init__(
        self,
        origin: Origin,
        addresses: Sequence[Address],
        context: ssl.SSLContext | None,
        timeouts: Timeouts,
        limits: Limits,
        now: float,
    ) -> None:
        self.served = 0
        """How many answers have come over it."""
        self.reusable = True
        """Whether it may carry another request after its latest answer."""
        self.wants = EVENT_WRITE
        """What to wait for, as a mask for a selector."""
        self._origin = origin
        self._addresses = list(addresses)
        self._context = context
        self._timeouts = timeouts
        self._limits = limits
        self._phase = _Phase.DIALLING
        self._dial_due = now + timeouts.connect
        self._read_due = self._total_due = _NEVER
        self._parser: ResponseParser | None = None
        self._unsent = memoryview(b"")
        self.sock = self._dial()

    @property
    def ready(self) -> bool:
        """Whether it stands. A failure before that says nothing about any request: none was sent."""
        return self._phase is _Phase.READY

    @property
    def due(self) -> float:
        """When patience ends (monotonic seconds)."""
        return min(self._read_due, self._total_due) if self.ready else self._dial_due

    @property
    def stale(self) -> bool:
        """Whether the request was the first to learn that the server had hung up long ago: it may be sent once more."""
        return self.served > 0 and self._parser is not None and not self._parser.started

    def start(self, wire: bytes, now: float, *, head: bool = False) -> None:
        """Begin a request (`head`: it is a HEAD); it goes out as soon as the connection stands."""
        self._parser = ResponseParser(head=head, limits=self._limits)
        self._unsent = memoryview(wire)
        if self.ready:
            self._begin(now)

    def advance(self, now: float) -> Response | None:
        """Do what the socket is ready for. Gives the answer once it is complete. Raises BackendError."""
        if self._phase is _Phase.DIALLING:
            self._dialled()
        if self._phase is _Phase.HANDSHAKE:
            self._shake()
        if not self.ready:
            return None
        if self._parser is None:
            self._idle()
            return None
        if self._total_due == _NEVER:
            self._begin(now)
            return None
        self._send()
        return self._receive(now, self._parser)

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

    def _dialled(self) -> None:
        if code := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            if not self._addresses:
                raise BackendError("unreachable", f"{self._origin}: {os.strerror(code)}")
            self.sock.close()
            self.sock = self._dial()
            return
        if self._context is None:
            self._phase = _Phase.READY
            return
        try:
            self.sock = self._context.wrap_socket(
                self.sock, do_handshake_on_connect=False, server_hostname=self._origin.host
            )
        except OSError as error:
            raise BackendError("unreachable", f"{self._origin}: TLS: {error}") from error
        self._phase = _Phase.HANDSHAKE

    def _shake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)  # noqa: S101 - for the type: only TLS has this phase
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = EVENT_WRITE
        except OSError as error:
            raise BackendError("unreachable", f"{self._origin}: TLS: {error}") from error
        else:
            self._phase = _Phase.READY
            self.wants = EVENT_READ

    def _begin(self, now: float) -> None:
        self._total_due = now + self._timeouts.total
        self._read_due = now + self._timeouts.read
        self._send()

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

    def _receive(self, now: float, parser: ResponseParser) -> Response | None:
        while True:
            try:
                data = self.sock.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return None
            except ssl.SSLWantWriteError:
                self.wants = EVENT_READ | EVENT_WRITE
                return None
            except OSError as error:
                raise BackendError("closed", f"{self._origin}: {error.strerror or error}") from error
            self._read_due = now + self._timeouts.read
            response = parser.feed(data) if data else parser.end()
            if response is not None:
                return self._answered(response, surplus=parser.surplus or not data)
            if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                return None

    def _answered(self, response: Response, *, surplus: bool) -> Response:
        self.reusable = response.reusable and not surplus and not self._unsent
        self.served += 1
        self._parser = None
        self._unsent = memoryview(b"")
        self._read_due = self._total_due = _NEVER
        return response

    def _idle(self) -> None:
        """Readable without a request: TLS may have something to say, HTTP has not."""
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            pass
        raise BackendError("closed", f"{self._origin}: hung up")
