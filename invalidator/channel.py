"""What a worker and its supervisor say to each other: one JSON object a packet, and neither ever waits for the other.

The supervisor gives orders, as the whole of what it wants: an order that did not fit is given again, and one that is
heard twice changes nothing. The worker reports what the shared memory has no words for; a packet for which there is no
room is dropped, and what only onlookers wanted is then counted as dropped. Times are wall seconds.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import msgspec

from invalidator.status import BreakerState, Heartbeat  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from invalidator.messages import Target

LONGEST_PACKET = 32 << 10
"""Bytes. What is longer is not sent: a reader's buffer is as long as this."""
MOST_TARGETS = 20
LONGEST_REST = 1.0
"""Seconds between two turns of a worker's loop when nothing happens: each costs, and most of them would do nothing."""
LONGEST_TEXT = 300
"""Characters of a target, a channel or a detail that are passed on: a person looks at them, nothing acts on them."""


Predecessor = Literal[
    "none",  # nobody was this worker when the process began, or it is gone, and all is known of its end
    "hears",  # it is subscribed, and has not said yet that it has heard all that was published before us
    "done",  # it has heard all of that, and only purges what is left
    "failed",  # it is gone, and has not said so: what was published before us may never have been heard
]


class Orders(msgspec.Struct, frozen=True, tag_field="what", tag="orders"):
    """What the supervisor wants of a worker besides its work: not to purge, or to tell what it hears and does.

    Two processes may be one worker for a moment (make before break). The elder gets `has_successor`: it is to prove
    that it has heard all that was published until now, and to purge that. The younger gets what is known of its
    `predecessor`, and the names of the backends for which that one has left something undone, to `flush` them.

    `retries` has the backends whose dead letters are to be tried again, each with the number of the last time that this
    was asked for: until the worker has said that it is done, its successors are told so too.

    `rest` is for how many seconds its loop may wait at most: a small part of the time after which it is taken for hung.
    """

    paused: bool = False
    tapped: bool = False
    has_successor: bool = False
    predecessor: Predecessor = "none"
    flush: tuple[str, ...] = ()
    retries: dict[str, int] = {}
    rest: float = LONGEST_REST


class Subscription(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="subscription"):
    """The state of the subscription has changed, or the reason for which there is none, or what proves it.

    `at` is when it came to be live, or not. `heartbeat` is echo or ping while it is live, `heartbeat_detail` why it is
    only a ping.
    """

    at: float
    live: bool
    reason: str = ""
    detail: str = ""
    heartbeat: Heartbeat = ""
    heartbeat_detail: str = ""


class LaneReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="lane"):
    """The state of one lane has changed: see `invalidator.status.Lane`. `pending` and `purged_at` are its own.

    `breaker_since` is 0.0 while it is closed; `failed_at`, `reason` and `detail` are those of the last failure.
    `next_try` is when its backend is asked again, to the second; 0.0 if that is soon.
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
    dead_letters: int = 0
    behind: float | None = None
    next_try: float = 0.0


class Retried(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="retried"):
    """The dead letters of a backend have been tried again, as was asked for under this `number`.

    `died` of those that were `tried` are letters again; `garbage` lines were none. `error`: why it could not go on.
    """

    backend: str
    number: int
    tried: int = 0
    died: int = 0
    garbage: int = 0
    error: str = ""


class HeardOut(msgspec.Struct, frozen=True, tag_field="what", tag="heard-out"):
    """All that Redis had for this worker when it was told that it has a successor has been taken in."""


class Drained(msgspec.Struct, frozen=True, tag_field="what", tag="drained"):
    """The last word of a worker that ends in order: everything is purged but what these backends still had to do."""

    undone: tuple[str, ...] = ()


class Unheard(msgspec.Struct, frozen=True, tag_field="what", tag="unheard"):
    """Why publishers that wait do not know that the worker is there, or get no receipts of it; empty: they do."""

    why: str


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


Packet = Orders | Subscription | LaneReport | Retried | HeardOut | Drained | Unheard | Heard | Outcome | Dropped
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
