"""The doors of the supervisor's loop: where others come in to look or to ask. Each is served in turns; none waits."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, TypeVar

from invalidator.errors import ConfigError, Problem, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

D = TypeVar("D")

_PASSING = (errno.EADDRINUSE, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Why an address cannot be had now, and may be later: the configuration is not wrong."""


class Door(Protocol):
    """A listening socket with its clients, on a loop that somebody else turns."""

    def fds(self, now: float) -> Iterator[tuple[int, int]]:
        """What to wait for: file descriptors with their poll() events."""

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open here: a forked child is to close them."""

    def next_due(self, now: float) -> float:
        """Seconds until `turn` has something to do, if nobody comes before."""

    def turn(self, ready: set[int], now: float) -> None:
        """Serve those that are ready, and part with those whose time is over."""

    def part_with_all(self) -> bool:
        """Close every connection; whether there was one. For when file descriptors run out."""

    def close(self) -> None:
        """Stop listening, and part with everybody."""


def opened(make: Callable[[], D], file: Path, setting: str, address: object, way_out: str) -> D:
    """The door that `make` opens at `address`, as `setting` of this file says.

    Raises UnreachableError if it cannot be had now, and ConfigError if it never can.
    """
    try:
        return make()
    except OSError as error:
        text = f"cannot listen on {address}: {error.strerror or error}; {way_out}"
        problem = Problem(str(file), 0, 0, setting, text)
        if error.errno in _PASSING:
            raise UnreachableError(str(problem)) from error
        raise ConfigError([problem]) from error
