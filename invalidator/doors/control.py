"""The control socket: where the person who runs the daemon comes in. A file that nobody else may open.

The file is the guard: it has mode 0600 from its first moment. The kernel is asked for the uid of whoever comes all the
same, because a mode can be changed, and a file system may not keep to it.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

from invalidator.control.protocol import encode, refused
from invalidator.doors.door import opened
from invalidator.doors.listener import Listener
from invalidator.doors.peer import uid_of
from invalidator.errors import EXIT_UNREACHABLE, InvalidatorError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator.doors.peers import Peers
    from invalidator.logs import Logger
    from invalidator.topology.load import Loaded

BACKLOG = 64
ACCEPTED_AT_ONCE = 16
_WAY_OUT = "choose another path"


class Control:
    """The listening socket at `path`. Whoever comes and may come is handed to `peers`."""

    def __init__(self, path: Path, peers: Peers) -> None:
        """Raises OSError."""
        with suppress(FileExistsError):
            path.parent.mkdir()  # the last folder only: a longer way that is missing is a mistake
            # Others may go through it and not look around: in the default one lies also what applications map.
            path.parent.chmod(0o711)
        self._listener = Listener(f"unix:{path}", BACKLOG, mode=0o600)
        self._peers = peers
        self._welcome_uids = {0, os.geteuid()}

    def is_there(self) -> bool:
        """Whether the file is still the one that we have made."""
        return self._listener.is_there()

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""
        if not self._listener.rest(now) and self._peers.has_room():
            yield self._listener.fileno(), select.POLLIN

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them."""
        return (self._listener.fileno(),)

    def next_due(self, now: float) -> float:
        """Seconds until a rest is over."""
        return self._listener.rest(now) or float("inf")

    def turn(self, ready: set[int], now: float) -> None:
        """Let in those who have come."""
        if self._listener.fileno() not in ready:
            return
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._peers.has_room() or (connection := self._listener.accept(now)) is None:
                return
            self._receive(connection, now)

    def part_with_all(self) -> bool:
        """Nobody is here: who was let in is elsewhere."""
        return False

    def close(self) -> None:
        """Stop listening, and take the file away."""
        self._listener.close()

    def _receive(self, connection: socket.socket, now: float) -> None:
        if uid_of(connection) not in self._welcome_uids:
            _turn_away(connection, f"this daemon answers root and uid {os.geteuid()} alone")
        else:
            self._peers.welcome(connection, now)


def open_control(loaded: Loaded, peers: Peers, log: Logger) -> Control | None:
    """The control socket of a topology. One that it names must be had: raises UnreachableError or ConfigError.

    The default one need not: a daemon that nobody can ask still purges, and one on a laptop may not write to /run. So
    of two daemons without a path of their own the second runs without a socket, and says so.
    """
    settings = loaded.topology.supervisor
    path = settings.control_socket
    try:
        door = opened(lambda: Control(path, peers), loaded.topology.file, "supervisor.control_socket", path, _WAY_OUT)
    except InvalidatorError as error:
        if "control_socket" in settings.model_fields_set:
            raise
        log.warning("control.unavailable", error=str(error), detail="status, reload and the like cannot reach it")
        return None
    log.info("control.listening", path=str(path))
    return door


def _turn_away(connection: socket.socket, text: str) -> None:
    with connection, suppress(OSError):
        connection.send(encode(refused(text, EXIT_UNREACHABLE)))
