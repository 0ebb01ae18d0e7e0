"""One client of the control socket. It may be slow, silent or hostile: it is served in steps, and none of them waits.

A client is read from only while nothing is owed to it: what it sends meanwhile stays in its own buffer, and in the
kernel's. So there is at most one request of it here, and one answer.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING

from invalidator.channel import Dropped
from invalidator.control.protocol import LONGEST_REQUEST, RequestError, decode_request, encode, refused

if TYPE_CHECKING:
    from invalidator.channel import Heard, Outcome
    from invalidator.control.protocol import Answer, AnyRequest

IDLE_SECONDS = 10.0
"""From one whole request to the next, however much of it has come: a byte a second is no request."""
STALLED_SECONDS = 5.0
"""A client that has not taken all of its answer by then is parted with."""
STALLED_VIEWER_SECONDS = 60.0
"""And one that looks on and takes nothing for so long: its pager may be waiting for a key."""
TAP_BYTES = 256 << 10
_CHUNK = 16 << 10
_CREDENTIALS = struct.Struct("3i")


def uid_of(connection: socket.socket) -> int:
    """Who is at the other end of a unix socket, as the kernel knows."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


class Peer:
    """A connection: what has come of a request, whether an answer is due, and what of it is still to be sent."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.closed = False
        self.watching: frozenset[str] | None = None
        """The workers whose lines it looks on, none named being all; None: it does not look on."""
        self._socket = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self._busy = False
        self._ended = False
        self._hangs_up = False
        self._dropped: dict[str, int] = {}
        self._since = now

    def fileno(self) -> int:
        """The connection."""
        return self._socket.fileno()

    def events(self) -> int:
        """What poll() is to wait for. That it has gone is said in any case."""
        events = select.POLLOUT if self._unsent else 0
        if self._may_read():
            events |= select.POLLIN
        return events

    def deadline(self) -> float:
        """The monotonic second at which our patience ends; infinite while it waits for us."""
        if self._unsent:
            return self._since + (STALLED_SECONDS if self.watching is None else STALLED_VIEWER_SECONDS)
        return float("inf") if self._busy or self.watching is not None else self._since + IDLE_SECONDS

    def has_line(self) -> bool:
        """Whether a request waits here, that is: whether `step` has something to do though nothing comes."""
        return self._may_read() and self.watching is None and b"\n" in self._received

    def is_silent(self) -> bool:
        """Whether it has asked for nothing, and nothing has come that was not looked at."""
        if not self._may_read() or self.watching is not None or self.has_line():
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def step(self, now: float) -> AnyRequest | None:
        """One turn: send some of what is owed, or read some of a request; a whole one is returned.

        Raises OSError once it has gone, or is to be parted with.
        """
        if self._unsent:
            self._send(now)
            return None
        if not self._may_read():
            raise ConnectionResetError  # nothing was waited for but this
        if self.watching is not None:
            if self._receive():
                raise ConnectionAbortedError  # who looks on has nothing more to say
            return None
        if b"\n" not in self._received:
            self._received += self._receive()
        return self._request(now)

    def answer(self, answer: Answer, now: float) -> None:
        """What has become of its request. A peer that has gone is told nothing."""
        if not self.closed:
            self._busy = False
            self._since = now
            self._unsent += encode(answer)

    def show(self, line: Heard | Outcome | Dropped, encoded: bytes) -> None:
        """A line for one that looks on; counted instead when there is too much that it has not taken yet."""
        if len(self._unsent) + len(encoded) > TAP_BYTES:
            number = line.count if isinstance(line, Dropped) else 1
            self._dropped[line.worker] = self._dropped.get(line.worker, 0) + number
        else:
            self._tell_of_dropped()
            self._unsent += encoded

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._socket.close()

    def _may_read(self) -> bool:
        if self.watching is not None:
            return not self._ended
        return not (self._busy or self._unsent)

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return b""
        self._ended = not data
        return data

    def _request(self, now: float) -> AnyRequest | None:
        line, newline, rest = self._received.partition(b"\n")
        if len(line) >= LONGEST_REQUEST:
            self._hangs_up = True  # where the next request begins is not known
            self._refuse(f"a request is a line of at most {LONGEST_REQUEST >> 10} KiB", now)
            return None
        if not newline and not self._ended:
            return None
        if not line and self._ended:
            raise ConnectionResetError
        self._received = rest
        self._since = now
        try:
            request = decode_request(bytes(line))
        except RequestError as error:
            self._refuse(str(error), now)
            return None
        self._busy = True
        return request

    def _refuse(self, text: str, now: float) -> None:
        self.answer(refused(text), now)

    def _send(self, now: float) -> None:
        try:
            sent = self._socket.send(self._unsent[:_CHUNK], socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        del self._unsent[:sent]
        if self.watching is not None:
            self._since = now  # it keeps reading; an answer, however, has one deadline for all of it
        if not self._unsent:
            self._tell_of_dropped()
            if self._hangs_up:
                raise ConnectionAbortedError

    def _tell_of_dropped(self) -> None:
        for worker, number in self._dropped.items():
            self._unsent += encode(Dropped(worker=worker, count=number))
        self._dropped.clear()
