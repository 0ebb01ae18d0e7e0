"""The clients of the control socket, on the supervisor's own loop. They outlive the socket that they came by."""

from __future__ import annotations

import select
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from invalidator.control.protocol import encode
from invalidator.doors.peer import Peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from invalidator.channel import Dropped, Heard, Outcome
    from invalidator.control.protocol import AnyRequest

PEER_LIMIT = 32


class Asked(NamedTuple):
    """A request, who is to be answered, and the how many-th it is of all."""

    peer: Peer
    request: AnyRequest
    number: int


class Peers:
    """A door without a listening socket: `welcome` lets in. What they have asked is in `asked`, in its order."""

    def __init__(self) -> None:
        self.asked: deque[Asked] = deque()
        self.count = 0
        """How many requests there have been."""
        self._peers: dict[int, Peer] = {}

    def has_room(self) -> bool:
        """Whether one more can be served; if not, it is to stand in line."""
        return len(self._peers) < PEER_LIMIT or self._silent() is not None

    def welcome(self, connection: socket.socket, now: float) -> None:
        """Serve one more. If there are too many, the oldest goes that asks for nothing."""
        if len(self._peers) >= PEER_LIMIT and (silent := self._silent()):
            self._part_with(silent)
        self._peers[connection.fileno()] = Peer(connection, now)

    def viewers(self) -> list[Peer]:
        """Those that look on."""
        return [peer for peer in self._peers.values() if peer.watching is not None]

    def is_watched(self, worker: str) -> bool:
        """Whether somebody looks on what this worker does."""
        return any(_looks_on(peer, worker) for peer in self._peers.values())

    def show(self, line: Heard | Outcome | Dropped) -> None:
        """A line for everybody who looks on this worker."""
        encoded = encode(line)
        for peer in self._peers.values():
            if _looks_on(peer, line.worker):
                peer.show(line, encoded)

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""
        del now
        return ((fd, peer.events()) for fd, peer in self._peers.items())

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them."""
        return tuple(self._peers)

    def next_due(self, now: float) -> float:
        """Seconds until a client's time is over; 0 while one has sent more than one request."""
        if any(peer.has_line() for peer in self._peers.values()):
            return 0.0
        return min((peer.deadline() for peer in self._peers.values()), default=float("inf")) - now

    def turn(self, ready: set[int], now: float) -> None:
        """One step for each that is ready, and an end for those whose time is over."""
        for fd, peer in list(self._peers.items()):
            if now >= peer.deadline():
                self._part_with(peer)
            elif fd in ready or peer.has_line():
                self._step(peer, now)

    def part_with_all(self) -> bool:
        """Hang up on every client. Whether there was one."""
        peers = list(self._peers.values())
        for peer in peers:
            self._part_with(peer)
        return bool(peers)

    def close(self) -> None:
        """Part with everybody; those who can take what is owed to them get it."""
        for peer in list(self._peers.values()):
            if peer.events() & select.POLLOUT:
                self._step(peer, 0.0)
        self.part_with_all()

    def _silent(self) -> Peer | None:
        return next((peer for peer in self._peers.values() if peer.is_silent()), None)

    def _step(self, peer: Peer, now: float) -> None:
        try:
            request = peer.step(now)
        except OSError:
            self._part_with(peer)
            return
        if request is not None:
            self.count += 1
            self.asked.append(Asked(peer, request, self.count))

    def _part_with(self, peer: Peer) -> None:
        if self._peers.pop(peer.fileno(), None) is not None:
            peer.close()


def _looks_on(peer: Peer, worker: str) -> bool:
    return peer.watching is not None and (not peer.watching or worker in peer.watching)
