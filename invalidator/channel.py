"""What a worker and its supervisor say to each other: one JSON object a packet, and neither ever waits for the other.

The supervisor gives orders, as the whole of what it wants: an order that did not fit is given again, and one that is
heard twice changes nothing. The worker reports what the shared memory has no words for; a packet for which there is no
room is dropped, and what only onlookers wanted is then counted as dropped. Times are wall seconds.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from invalidator.status import BreakerState  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from invalidator.messages import Target

LONGEST_PACKET = 32 << 10
"""Bytes. What is longer is not sent: a reader's buffer is as long as this."""
MOST_TARGETS = 20
LONGEST_TEXT = 300
"""Characters of a target, a channel or a detail that are passed on: a person looks at them, nothing acts on them."""


class Orders(msgspec.Struct, frozen=True, tag_field="what", tag="orders"):
    """What the supervisor wants of a worker besides its work: not to purge, or to tell what it hears and does."""

    paused: bool = False
    tapped: bool = False


class Subscription(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="subscription"):
    """The state of the subscription has changed, or the reason for which there is none."""

    at: float
    live: bool
    reason: str = ""
    detail: str = ""


class LaneReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="lane"):
    """The state of one lane has changed: see `invalidator.status.Lane`. `pending` and `purged_at` are its own.

    `breaker_since` is 0.0 while it is closed; `failed_at`, `reason` and `detail` are those of the last failure.
    """

    backend: str
    node: str = ""
    pending: int = 0
    purged_at: float = 0.0
    breaker: BreakerState = "closed"
    breaker_since: float = 0.0
    flush_owed: bool = False
    failed_at: float = 0.0
    reason: str = ""
    detail: str = ""
    paused: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="message"):
    """For a tap: a message has been decoded. `rejected`: why it was not, or why some of its targets are left out."""

    at: float
    worker: str
    channel: str
    targets: tuple[tuple[str, str], ...]
    more: int = 0
    id: str = ""
    source: str = ""
    soft: bool = False
    rejected: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="outcome"):
    """For a tap: what became of targets in one lane. `end`: purged, flushed, skipped, failed, dead or deferred."""

    at: float
    worker: str
    backend: str
    end: str
    targets: tuple[tuple[str, str], ...]
    more: int = 0
    node: str = ""
    reason: str = ""
    cause: str = ""
    seconds: float = 0.0


class Dropped(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="dropped"):
    """For a tap: so many of its lines had no room, here or on the way to whoever looks on."""

    worker: str
    count: int


Packet = Orders | Subscription | LaneReport | Heard | Outcome | Dropped
_DECODER = msgspec.json.Decoder(Packet)


def shown(targets: Iterable[Target]) -> tuple[tuple[tuple[str, str], ...], int]:
    """As many targets as a line has room for, and how many more there were."""
    listed = list(targets)
    first = tuple((kind, value[:LONGEST_TEXT]) for kind, value in listed[:MOST_TARGETS])
    return first, len(listed) - len(first)


class Channel:
    """One end. It may be used from several threads: each packet is one system call."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self.closed = False

    def fileno(self) -> int:
        """Readable when the other end has said something, or has gone."""
        return self._socket.fileno()

    def send(self, packet: Packet) -> bool:
        """Say something; False if there is no room for it, or nobody to hear it."""
        data = msgspec.json.encode(packet)
        if len(data) > LONGEST_PACKET:
            return False
        try:
            self._socket.send(data, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def receive(self, limit: int) -> Iterator[Packet]:
        """At most `limit` packets of those that have come. What is no packet of ours is ignored."""
        for _ in range(limit):
            try:
                data = self._socket.recv(LONGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return
            with suppress(msgspec.DecodeError):
                yield _DECODER.decode(data)

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Both ends of a new channel. Raises OSError when there are no file descriptors left."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)
