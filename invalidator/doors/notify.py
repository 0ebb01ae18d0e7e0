"""What systemd is told of the daemon: readiness, a status that a person can act on, and that the loop turns.

The protocol of sd_notify(3): datagrams of `NAME=value` lines to $NOTIFY_SOCKET. It needs no C library. A manager that
is gone, or too busy to read, costs us nothing: sending never waits and never raises, and what was not taken is said
again. Without $NOTIFY_SOCKET nothing is ever said.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from invalidator.doors.tidings import Said, next_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from invalidator.doors.tidings import Moment

RETRY_SECONDS = 0.5
"""Until something that the manager did not take is said again."""
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Our end of the notification socket. To be asked for a turn on each turn of the loop that it vouches for."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        """`environ` has what systemd says of the socket and the watchdog; `pid` is the process that would be killed."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.feed_every = _feed_interval(environ, pid) if self._address else None
        """Seconds between two signs of life; None: nobody waits for one."""
        self._said = Said()
        self._retry_at: float | None = None

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them, for it has nothing to say."""
        return (self._socket.fileno(),) if self._socket else ()

    def turn(self, moment: Moment, now: float, status: Callable[[], str]) -> None:
        """Say what has changed since the last turn, and what has to be said again by now.

        `status` makes the line for a person; it is asked for about once a second.
        """
        if self._retry_at is not None and now < self._retry_at:
            return
        self._retry_at = None
        while self._socket and (words := next_words(moment, self._said, now, self.feed_every, status)):
            if words.text and not self._send(words.text):
                self._retry_at = now + RETRY_SECONDS
                return
            self._said = words.after

    def next_due(self, now: float) -> float:
        """Seconds until a turn has something to say even if nothing changes."""
        if not self._socket:
            return float("inf")
        if self._retry_at is not None:
            return max(0.0, self._retry_at - now)
        return max(0.0, self._said.next_due(self.feed_every) - now)

    def close(self) -> None:
        """Nothing is said any more."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> bool:
        assert self._socket is not None  # noqa: S101  # for the type checker: turn() has looked
        try:
            self._socket.sendto(text.encode(errors="replace"), self._address)
        except OSError:  # full, gone, or forbidden: the manager's trouble must not become ours
            return False
        return True


def take_environment(environ: MutableMapping[str, str]) -> dict[str, str]:
    """What systemd says to us, taken out: neither a worker nor a plugin's subprocess is to speak in our name."""
    return {name: environ.pop(name) for name in _OURS if name in environ}


def from_environment() -> Notifier:
    """The notifier of this process. What was in its environment about it is gone from there."""
    return Notifier(take_environment(os.environ), os.getpid())


def _address(given: str) -> str:
    if given.startswith("/"):
        return given
    # An abstract socket: the name begins with a zero byte, which an environment variable cannot hold.
    return "\0" + given[1:] if given.startswith("@") and len(given) > 1 else ""


def _feed_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Half the watchdog's time, as sd_watchdog_enabled(3) advises: one late turn of the loop is no hang."""
    meant = environ.get("WATCHDOG_PID", str(pid))
    usec = environ.get("WATCHDOG_USEC", "")
    if meant != str(pid) or not (usec.isascii() and usec.isdecimal()) or len(usec) > 18 or int(usec) == 0:
        return None
    return int(usec) / 2e6
