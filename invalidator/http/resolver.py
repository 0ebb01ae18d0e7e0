"""Names to addresses, without ever waiting past a deadline: the C library's resolver knows none."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from invalidator.errors import BackendError

if TYPE_CHECKING:
    from invalidator.http.origin import Origin

FRESH_FOR = 30.0
"""Seconds for which an answer is used again: a new connection is no reason for a new look-up."""


class Address(NamedTuple):
    """Where a socket connects to."""

    family: socket.AddressFamily
    sockaddr: str | tuple[str | int | bytes, ...]


class Resolver:
    """The addresses of one origin. While a look-up hangs there is one thread waiting for it, and never a second one."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._known: tuple[Address, ...] = ()
        self._until = 0.0
        self._lookup: threading.Thread | None = None
        self._fault = ""
        if origin.socket:
            self._known, self._until = (Address(socket.AF_UNIX, origin.socket),), float("inf")

    def addresses(self, deadline: float) -> tuple[Address, ...]:
        """All addresses, by the deadline (monotonic); older ones where no look-up succeeds. Raises BackendError."""
        if time.monotonic() >= self._until and not self._literal():
            if self._lookup is None or not self._lookup.is_alive():
                self._lookup = threading.Thread(target=self._look_up, name="resolver", daemon=True)
                self._lookup.start()
            self._lookup.join(max(0.0, deadline - time.monotonic()))
        if not self._known:
            fault = self._fault or "no answer from the resolver"
            raise BackendError("unreachable", f"{self._origin}: cannot resolve {self._origin.host}: {fault}")
        return self._known

    def _literal(self) -> bool:
        """Whether the host is an address already, which takes neither a look-up nor a thread."""
        try:
            self._known = _getaddrinfo(self._origin, socket.AI_NUMERICHOST)
        except OSError:
            return False
        self._until = float("inf")
        return True

    def _look_up(self) -> None:
        try:
            self._known = _getaddrinfo(self._origin, 0)
        except (OSError, UnicodeError) as error:
            self._fault = str(error)
        else:
            self._until = time.monotonic() + FRESH_FOR


def _getaddrinfo(origin: Origin, flags: int) -> tuple[Address, ...]:
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags)
    return tuple(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))
