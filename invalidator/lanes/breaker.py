"""A circuit breaker: a backend that fails each time is asked for little, and seldom. Pure: takes `now`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.lanes.pace import Retry
    from invalidator.status import BreakerState

OPENS_AFTER = 3
"""Attempts in a row that failed as a whole."""
PROBE_SIZE = 10
"""How many targets the attempt has that shows whether the backend is well again: it may be that many timeouts."""


@dataclass(slots=True)
class Breaker:
    """Closed, it counts failures; open, it lets nothing through until a probe is due, on which all depends.

    An answer that tried nothing decides nothing. `opened` is when it opened (monotonic seconds), None while it is
    closed.
    """

    retry: Retry
    opened: float | None = None
    _probing: bool = False

    @property
    def state(self) -> BreakerState:
        """`half-open` from the start of the probe to its answer."""
        if self.opened is None:
            return "closed"
        return "half-open" if self._probing else "open"

    @property
    def due(self) -> float:
        """The monotonic second before which nobody is asked."""
        return self.retry.due

    def allows(self, count: int) -> int:
        """How many of `count` targets the next attempt may have."""
        return count if self.opened is None else min(count, PROBE_SIZE)

    def asked(self) -> None:
        """An attempt begins."""
        self._probing = self.opened is not None

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """The attempt failed as a whole."""
        self._probing = False
        self.retry.failed(now, retry_after)
        if self.opened is None and self.retry.attempts >= OPENS_AFTER:
            self.opened = now

    def succeeded(self) -> None:
        """The backend has purged something."""
        self._probing = False
        self.opened = None
        self.retry.succeeded()

    def undecided(self) -> None:
        """The backend has tried nothing."""
        self._probing = False
