"""What a process owes to the one that was this worker before it, when that one still hears. Pure.

Make before break: the successor subscribes while its predecessor does. What was published before that, the predecessor
has heard or will; what comes after it, both hear. So nothing was missed, and the Gap with which every subscription
begins is none, if the predecessor then proves that it has heard everything up to a moment at which both were
subscribed, and purges that. Until it has, nobody knows; if it dies before, the Gap is one after all, and declared late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.channel import Orders
    from invalidator.messages import Gap


class Inheritance:
    """`heard` are the backends for which a predecessor hears on; empty: there is none that helps."""

    def __init__(self, heard: frozenset[str]) -> None:
        self.heard = heard
        self._waits = bool(heard)
        self._held_back: Gap | None = None
        self._flushed: tuple[str, ...] = ()

    def holds_back(self, gap: Gap) -> bool:
        """Whether this Gap is none as long as the predecessor keeps its word."""
        if gap.cause != "start" or not self._waits:
            return False
        self._held_back = gap
        return True

    @property
    def may_vouch(self) -> bool:
        """Whether all that was published is known to be heard by somebody. Until then the predecessor vouches."""
        return not self._waits

    def learn(self, orders: Orders) -> Gap | None:
        """What the supervisor says of the predecessor. Returns the Gap that is one after all."""
        if not self._waits or orders.predecessor == "hears":
            return None
        self._waits = False
        gap, self._held_back = self._held_back, None
        # One that is not confirmed yet will begin with a Gap like any other.
        return None if orders.predecessor == "done" else gap

    def undone(self, orders: Orders) -> tuple[str, ...]:
        """The backends to be flushed because the predecessor had to leave something undone; once."""
        if orders.flush == self._flushed:
            return ()
        self._flushed = orders.flush
        return orders.flush
