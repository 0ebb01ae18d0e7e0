"""A lane's flush: at most one that waits and one in flight, and how many targets each stands for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.lanes.wishes import UNROOTED, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.lanes.policy import Policy
    from invalidator.messages import FlushCause, PurgeResult, Target


@dataclass(slots=True)
class Flush:
    """A flush that was asked for: why, from when on it is due, what it still has to purge, and what it stands for.

    `earliest` is the second before which it must not be done: it would stand for what another lane purges until then.
    `number` is that of the oldest offer or flush of the worker that has not ended before this one is done; `root` as in
    Stamp.
    """

    cause: FlushCause
    due: float
    targets: tuple[Target, ...]
    number: int
    covered: int = 0
    earliest: float = 0.0
    root: int = UNROOTED

    def cover(self, stamps: Iterable[Stamp]) -> None:
        """It stands for these from now on."""
        for stamp in stamps:
            self.covered += 1
            self.number = min(self.number, stamp.number)
            self.root = min(self.root, stamp.root)

    def cover_root(self, root: int) -> None:
        """It stands for something of this root too."""
        self.root = min(self.root, root)


@dataclass(slots=True)
class Flushes:
    """Those that are asked for before the one that waits is begun are one with it."""

    policy: Policy
    heard: int = 0
    """The number of the last offer that was taken in before the last whole one began."""
    waiting: Flush | None = None
    flight: Flush | None = None

    def __bool__(self) -> bool:
        return bool(self.waiting or self.flight)

    @property
    def covered(self) -> int:
        """How many targets end with the flushes that are not done."""
        return sum(flush.covered for flush in (self.waiting, self.flight) if flush)

    @property
    def due(self) -> float:
        """When the next one is due; infinite if none waits."""
        return max(self.waiting.due, self.waiting.earliest) if self.waiting else float("inf")

    def numbers(self) -> list[int]:
        """The oldest number of each that is not done."""
        return [flush.number for flush in (self.waiting, self.flight) if flush]

    def roots(self) -> list[int]:
        """The root of each that is not done."""
        return [flush.root for flush in (self.waiting, self.flight) if flush]

    def in_flight(self) -> Stamp | None:
        """What the one in flight does, as if it were one wish."""
        return Stamp(None, min(self.flight.number, self.flight.root)) if self.flight else None

    def ask(self, cause: FlushCause, due: float, number: int, *, earliest: float = 0.0) -> Flush:
        """Ask for one from `due` on, and not before `earliest`. Those that become one are as early as the earliest."""
        if self.waiting is None:
            self.waiting = Flush(cause, due, self.policy.flush, number)
        self.waiting.number = min(self.waiting.number, number)
        self.waiting.targets = self.policy.flush  # what a former attempt has done is to be done again
        self.waiting.due = min(self.waiting.due, due)
        self.waiting.earliest = max(self.waiting.earliest, earliest)
        return self.waiting

    def begin(self, flush: Flush, heard: int) -> None:
        """This one, which waits, is now in flight."""
        self.waiting, self.flight = None, flush
        if flush.targets == self.policy.flush:
            self.heard = heard

    def hurry(self) -> None:
        """What waits for its time is due now."""
        if self.waiting:
            self.waiting.due = self.waiting.earliest = 0.0

    def settle(self, result: PurgeResult) -> int:
        """The one in flight was answered. Returns how many targets it has purged; the rest of it waits again.

        Only the rest: a limit that allows a part of it at a time would otherwise never let it be done.
        """
        flush, self.flight = self.flight, None
        if flush is None:
            return 0
        if not (result.failures or result.deferred):
            return flush.covered
        left = {*result.deferred, *(failure.target for failure in result.failures)}
        if self.waiting is None:
            flush.targets = tuple(target for target in flush.targets if target in left) or flush.targets
            self.waiting = flush
        else:
            self.waiting.covered += flush.covered
            self.waiting.number = min(self.waiting.number, flush.number)
            self.waiting.root = min(self.waiting.root, flush.root)
            self.waiting.due = min(self.waiting.due, flush.due)
        return 0
