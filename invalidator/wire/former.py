"""Masters that are none to us. One may live on for many seconds, as a master, until a Sentinel tells it otherwise.

Publishers that are connected to it notice nothing. What they publish there is heard by nobody, and no Stream keeps it:
when it is a master no more, whatever was published there until then has been missed. So has what was published at one
that nobody here could see: it may have been cut off together with its publishers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from invalidator.slots import clock
from invalidator.wire.identity import exchange, role_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.wire.identity import Address

MOST = 4
"""Those that are looked at. With so many failovers behind us, the oldest is forgotten."""


class Formers:
    """`connect` makes a connection to one of them, not connected yet. Seconds between looks: `interval`, and `rest`
    for one that does not answer: its machine may be gone for good."""

    def __init__(self, connect: Callable[[Address], redis.Connection], interval: float, rest: float) -> None:
        self._connect = connect
        self._interval = interval
        self._rest = rest
        self._due: dict[Address, float] = {}
        self._in_doubt: set[Address] = set()  # seen as a master, or not seen at all, since it was left

    def left(self, server: Address) -> None:
        """This one was the master until now."""
        self._due[server] = 0.0
        while len(self._due) > MOST:
            self._forget(next(iter(self._due)))

    def named(self, server: Address) -> None:
        """This one may take itself for a master, and was left by somebody else: by a former process of this worker."""
        if len(self._due) < MOST:
            self._due.setdefault(server, 0.0)

    def chosen(self, server: Address) -> None:
        """This one is the master now."""
        self._forget(server)

    def stepped_down(self) -> bool:
        """Whether one may have been a master since it was left, and is none now. Blocks, and says so once."""
        found = [self._look(server) for server, due in list(self._due.items()) if clock() >= due]
        return any(found)

    def _look(self, server: Address) -> bool:
        role = self._role(server)
        if role in ("master", None):
            self._in_doubt.add(server)
            self._due[server] = clock() + (self._interval if role else self._rest)
            return False
        in_doubt = server in self._in_doubt
        self._forget(server)
        if not role:
            self._due[server] = clock() + self._rest  # who starts it again may start it as what it was
        return in_doubt

    def _role(self, server: Address) -> str | None:
        """What it says that it is; nothing if there is nobody, or it will not say; None while it cannot be seen."""
        try:
            connection = self._connect(server)
            try:
                connection.connect()
                return role_of(exchange(connection, [("ROLE",)])[0])[0]
            finally:
                with suppress(Exception):
                    connection.disconnect()
        except (redis.RedisError, OSError, ValueError) as error:  # the last is of a name that can be none
            return "" if isinstance(error.__context__, ConnectionRefusedError) else None

    def _forget(self, server: Address) -> None:
        self._due.pop(server, None)
        self._in_doubt.discard(server)
