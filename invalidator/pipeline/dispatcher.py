"""Dispatched: each lane of a worker gets what it is to purge. Nothing that one of them does stops another."""

from __future__ import annotations

import random
from itertools import groupby
from typing import TYPE_CHECKING

from invalidator.lanes.following import link
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from invalidator.channel import LaneReport
    from invalidator.lanes.lane import Lane
    from invalidator.logs import Logger
    from invalidator.messages import Gap, Invalidation

FLUSH_SPREAD = 1.0
"""Seconds over which a fleet's flushes are spread after a fault that all of its hosts saw at the same time."""

_OWN_CAUSES = frozenset({"start", "paused", "overflow"})


class Dispatcher:
    """The lanes of one worker."""

    def __init__(self, lanes: Sequence[Lane], log: Logger, chance: Callable[[], float] = random.random) -> None:
        self.lanes: Sequence[Lane] = link(lanes)
        """In the order in which they go: a lane stands behind those that it follows."""
        self.refused: dict[Lane, int] = {}
        """Of the last `dispatch`: the lanes that had no room, each with how many messages it took before the first
        that it refused. What they refused is not outstanding anywhere: whoever reads the journal offers it again."""
        self._log = log
        self._chance = chance
        self._offers = 0
        for lane in self.lanes:
            lane.start()

    def dispatch(self, invalidations: Sequence[Invalidation], now: float, *, only: Lane | None = None) -> int:
        """Hand over what has been decoded, to all lanes or to `only` one. Never waits for a backend.

        Returns the offer's number: see Lane.settled_through.
        """
        number = self.number()
        self.refused = {}
        # Those that follow must wait before those that they follow have done it.
        for lane in [only] if only else reversed(self.lanes):
            taken = lane.offer(invalidations, now, number, alone=only is not None)
            if taken < len(invalidations):
                self.refused[lane] = taken
        return number

    def number(self) -> int:
        """For the next offer or flush: each has a higher one than those before it."""
        self._offers += 1
        return self._offers

    @property
    def offers(self) -> int:
        """How many numbers there have been: while it stays as it is, no lane has been given anything."""
        return self._offers

    def flush(
        self,
        gap: Gap,
        now: float,
        *,
        only_memory: bool = False,
        only: Collection[str] | None = None,
        spared: Collection[str] = (),
    ) -> int:
        """Have each lane do what its policy says of a Gap; or `only` those of some backends, or all but the `spared`.

        Returns the flush's number: see Lane.settled_through.
        """
        asked = [
            lane
            for lane in self.lanes
            if (lane.backend.memory or not only_memory)
            and (only is None or lane.policy.backend in only)
            and lane.policy.backend not in spared
        ]
        return self.flush_lanes(asked, gap, now)

    def flush_lanes(self, asked: Collection[Lane], gap: Gap, now: float) -> int:
        """The same for these lanes."""
        number = self.number()
        flushing = [lane for lane in asked if lane.policy.on_gap]
        for lane in reversed(self.lanes):
            if lane in asked:
                due = now + flush_delay(gap, self._chance(), inline=lane.backend.inline)
                lane.flush(gap.cause, due, lane.owed(flushing), number)
        return number

    def filenos(self) -> list[int]:
        """What to wait for before `turn` has something to do, beside the time of `next_due`."""
        return [fd for lane in self.lanes if (fd := lane.fileno()) is not None]

    def turn(self) -> None:
        """Let the lanes do what needs no thread."""
        for lane in self.lanes:
            lane.turn()

    def vouch(self, until: float) -> None:
        """Tell the inline backends how long the subscription is known to be alive; 0.0: it is not."""
        for lane in self.lanes:
            lane.vouch(until)

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called."""
        return min((lane.next_due(now) for lane in self.lanes), default=float("inf"))

    def is_settled(self) -> bool:
        """Whether every lane has done its flush, or has shown that its backend cannot now."""
        return all(lane.is_settled() for lane in self.lanes)

    def is_flushing(self) -> bool:
        """Whether a flush is still owed."""
        return any(lane.is_flushing() for lane in self.lanes)

    def is_idle(self) -> bool:
        """Whether no lane has anything to do, now or later."""
        return all(lane.is_idle() for lane in self.lanes)

    def given_up(self) -> int:
        """How many targets nobody will purge: dead or lost, of all lanes together."""
        return sum(lane.given_up for lane in self.lanes)

    def pause(self) -> None:
        """Have no lane begin anything until `resume`. Messages are taken in as before."""
        for lane in self.lanes:
            lane.pause()

    def resume(self) -> None:
        """Go on."""
        for lane in self.lanes:
            lane.resume()

    def describe(self) -> list[LaneReport]:
        """Each lane at this moment."""
        return [lane.describe() for lane in self.lanes]

    def stop(self, deadline: float) -> tuple[str, ...]:
        """Purge what is pending until this monotonic second: all lanes at the same time, those that follow others last.

        What goes first has half of the time that is left, so that what hangs there leaves some for the others. Returns
        the names of the backends for which that was not all: something is left, or was done before its time.
        """
        undone = {lane.policy.backend for lane in self.lanes if lane.waits_its_time()}
        ranks = [list(lanes) for _, lanes in groupby(self.lanes, key=lambda lane: lane.rank)]
        for rank in ranks[:-1]:
            self._stop(rank)
            until = clock() + (deadline - clock()) / 2
            for lane in rank:
                lane.wait(until)
        for rank in ranks[-1:]:
            self._stop(rank)
        for lane in self.lanes:
            if left := lane.join(deadline):
                self._log.error("lane.abandoned", lane=lane.name, targets=left, late=clock() >= deadline)
            if left or lane.is_flushing():
                undone.add(lane.policy.backend)
        return tuple(sorted(undone))

    def _stop(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            lane.stop()


def flush_delay(gap: Gap, chance: float, *, inline: bool) -> float:
    """Seconds to wait with the flush for a Gap.

    After a fault of Redis a whole fleet would flush at the same moment, and its origins would meet every miss at once.
    What has spread it while it reconnected need not be done again. Memory on this host is flushed at once, and so is
    everything after a start of our own.
    """
    return 0.0 if inline or gap.cause in _OWN_CAUSES else chance * max(0.0, FLUSH_SPREAD - gap.spread)
