"""Dispatched: each lane of a worker gets what it is to purge. Nothing that one of them does stops another."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.logs import Logger
    from invalidator.messages import Gap, Invalidation
    from invalidator.pipeline.lane import Lane

FLUSH_SPREAD = 1.0
"""Seconds over which a fleet's flushes are spread after a fault that all of its hosts saw at the same time."""

_OWN_CAUSES = frozenset({"start", "paused", "overflow"})


class Dispatcher:
    """The lanes of one worker."""

    def __init__(self, lanes: Sequence[Lane], log: Logger, chance: Callable[[], float] = random.random) -> None:
        self._lanes = lanes
        self._log = log
        self._chance = chance
        for lane in lanes:
            lane.start()

    def dispatch(self, invalidations: Sequence[Invalidation], now: float) -> None:
        """Hand over what has been decoded. Never waits for a backend."""
        for lane in self._lanes:
            lane.offer(invalidations, now)

    def flush(self, gap: Gap, now: float, *, only_inline: bool = False) -> None:
        """Have each lane do what its policy says of a Gap."""
        for lane in self._lanes:
            if lane.backend.inline or not only_inline:
                lane.flush(gap.cause, now + flush_delay(gap, self._chance(), inline=lane.backend.inline))

    def turn(self) -> None:
        """Let the lanes without a thread do their work."""
        for lane in self._lanes:
            lane.turn()

    def vouch(self, until: float) -> None:
        """Tell the inline backends how long the subscription is known to be alive; 0.0: it is not."""
        for lane in self._lanes:
            lane.vouch(until)

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called."""
        return min((lane.next_due(now) for lane in self._lanes), default=float("inf"))

    def is_settled(self) -> bool:
        """Whether every lane has done its flush, or has shown that its backend cannot now."""
        return all(lane.is_settled() for lane in self._lanes)

    def is_flushing(self) -> bool:
        """Whether a flush is still owed."""
        return any(lane.is_flushing() for lane in self._lanes)

    def stop(self, deadline: float) -> None:
        """Purge what is pending, all lanes at the same time, until this monotonic second."""
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            if left := lane.join(deadline):
                self._log.error("lane.abandoned", lane=lane.name, targets=left, late=clock() >= deadline)


def flush_delay(gap: Gap, chance: float, *, inline: bool) -> float:
    """Seconds to wait with the flush for a Gap.

    After a fault of Redis a whole fleet would flush at the same moment, and its origins would meet every miss at once.
    Memory on this host is flushed at once, and so is everything after a start of our own.
    """
    return 0.0 if inline or gap.cause in _OWN_CAUSES else chance * FLUSH_SPREAD
