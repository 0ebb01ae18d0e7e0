"""The doors of the supervisor's loop: where others come in to look or to ask. Each is served in turns; none waits."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from invalidator.errors import ConfigError, Problem, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.topology.load import Loaded

D = TypeVar("D")

LOOK_SECONDS = 5.0
"""How often it is looked whether each address still leads here."""

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


class Placed(Door, Protocol):
    """A door at an address."""

    def is_there(self) -> bool:
        """Whether its address still leads here: the file of a socket can be taken away."""


class Doorway(NamedTuple):
    """A door that a topology may move: where it wants it (None: nowhere), and how it is opened there.

    `open` raises InvalidatorError; None: it cannot be opened now, and may be missing.
    """

    address: Callable[[Loaded], object]
    open: Callable[[Loaded], Placed | None]


class Doors:
    """Every door of the loop: some that are always there, and those that a topology moves."""

    def __init__(self, always: Door, *doorways: Doorway) -> None:
        self._always = always
        self._doorways = doorways
        self._open: dict[Doorway, tuple[object, Placed]] = {}
        self._look = 0.0

    def __iter__(self) -> Iterator[Door]:
        """Those who are there are served before others come in and take their place."""
        return iter([self._always, *(door for _, door in self._open.values())])

    @contextmanager
    def moving_to(self, loaded: Loaded) -> Iterator[None]:
        """Open what this topology wants elsewhere, or what is gone; close what was there once the block has ended well.

        If opening or the block raises, nothing has changed.
        """
        fresh: dict[Doorway, tuple[object, Placed]] = {}
        try:
            for doorway in self._doorways:
                address = doorway.address(loaded)
                if (there := self._open.get(doorway)) and there[0] == address and there[1].is_there():
                    fresh[doorway] = there
                elif address is not None and (door := doorway.open(loaded)) is not None:
                    fresh[doorway] = address, door
            yield
        except BaseException:
            _close(fresh, unless=self._open)
            raise
        _close(self._open, unless=fresh)
        self._open = fresh

    def next_due(self, now: float) -> float:
        """Seconds until `mend` has something to look at."""
        return max(0.0, self._look - now)

    def mend(self, loaded: Loaded, now: float) -> bool:
        """Open anew what has been taken away, as by a cleaner of old files; whether anything had been.

        Raises InvalidatorError if it cannot be had now; then it is tried again at the next look.
        """
        if now < self._look:
            return False
        self._look = now + LOOK_SECONDS
        if all(there.is_there() for _, there in self._open.values()):
            return False
        with self.moving_to(loaded):
            return True

    def sockets(self) -> tuple[int, ...]:
        """Every file descriptor that is open at a door: a forked child is to close them."""
        return tuple(fd for door in self for fd in door.sockets())

    def part_with_all(self) -> bool:
        """Close every connection; whether there was one."""
        parted = [door.part_with_all() for door in self]  # each of them, not only the first
        return any(parted)

    def close(self) -> None:
        """Close every door."""
        for door in self:
            door.close()
        self._open = {}


def _close(doors: dict[Doorway, tuple[object, Placed]], unless: dict[Doorway, tuple[object, Placed]]) -> None:
    for doorway, place in doors.items():
        if unless.get(doorway) is not place:
            place[1].close()
