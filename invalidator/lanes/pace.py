"""How fast a lane asks its backend: when it may ask again after a failure, and how much it asks for at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invalidator.backoff import equal_jitter
from invalidator.lanes.breaker import Breaker
from invalidator.lanes.budget import AWAY, Budgets

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.lanes.answers import Outcome
    from invalidator.messages import PurgeResult

ATTEMPT_SECONDS = 5.0
"""How long a backend has for one batch."""
FLUSH_SECONDS = 30.0
"""How long it has for a flush: a Redis of millions of keys is walked, and a walk that is cut short begins anew."""
RETRY_FIRST = 0.05
RETRY_LONGEST = 5.0
LONGEST_RETRY_AFTER = 300.0
SHORTEST_DEFERRAL = 0.01
"""A backend that puts off and names no time is not asked again at once: that would be a loop without a rest."""
FIRST_BATCH = 1_000
LARGEST_BATCH = 8_000


@dataclass(slots=True)
class Retry:
    """Failures in a row, and the monotonic second before which the next attempt makes no sense."""

    chance: Callable[[], float]
    attempts: int = 0
    due: float = 0.0

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """One more failure: wait longer than after the last, and at least as long as the server asked for."""
        self.attempts += 1
        delay = equal_jitter(self.attempts, RETRY_FIRST, RETRY_LONGEST, self.chance())
        self.due = now + max(delay, min(retry_after, LONGEST_RETRY_AFTER))

    def succeeded(self) -> None:
        """The next failure is the first again."""
        self.attempts = 0
        self.due = 0.0


@dataclass(slots=True)
class Pace:
    """One lane's pace. `whole` is about the backend: it failed. `part` about targets that failed while others did not.

    `deferred_until` is the second before which the backend said that it will take nothing; 0 if it did not say so.
    `again_size` is how many targets that have failed are tried at once: fewer and fewer, until the one for which the
    others fail is alone.
    """

    chance: Callable[[], float]
    batch_size: int = FIRST_BATCH
    again_size: int = LARGEST_BATCH
    whole: Breaker = field(init=False)
    part: Retry = field(init=False)
    deferred_until: float = 0.0
    budgets: Budgets = field(default_factory=Budgets)

    def __post_init__(self) -> None:
        self.whole = Breaker(Retry(self.chance))
        self.part = Retry(self.chance)

    @property
    def due(self) -> float:
        """The monotonic second before which the backend is not asked for anything."""
        return max(self.whole.due, self.deferred_until)

    @property
    def held_until(self) -> float:
        """The monotonic second before which it is not asked for everything: some failed while others did not."""
        return max(self.due, self.part.due)

    def next_size(self, *, again: bool = False) -> int:
        """How many targets to ask for next, of those that have failed or of the others."""
        return self.whole.allows(min(self.batch_size, self.again_size) if again else self.batch_size)

    def answered(self, outcome: Outcome, result: PurgeResult, now: float, *, retried: bool) -> None:
        """What the backend has said of a batch; `retried`: of targets that had failed before."""
        tried, again = outcome.tried, len(outcome.again)
        reasons = {failure.reason for failure in result.failures}
        failed = again > 0 and again >= tried
        if failed and AWAY.isdisjoint(reasons):
            self.again_size = max(1, tried // 2)  # one of them may be the reason for which none was purged
        blamed = failed and self.budgets.blames(outcome.again, reasons)
        if blamed:
            self.whole.undecided()
        else:
            self.flushed(tried, now, result.retry_after, failed=failed)
        if (again and not failed) or blamed:
            self.part.failed(now, result.retry_after)
        elif retried and tried and not again:
            self.part.succeeded()
            self.again_size = min(2 * self.again_size, LARGEST_BATCH)

    def flushed(self, tried: int, now: float, retry_after: float, *, failed: bool) -> None:
        """A flush was answered; it says nothing of single targets, and one that failed in part has failed."""
        if failed:
            self.whole.failed(now, retry_after)
        elif tried > 0:
            self.whole.succeeded()
        else:
            self.whole.undecided()

    def deferred(self, now: float, retry_after: float) -> None:
        """The backend has put off some of what it was asked for."""
        self.deferred_until = now + max(SHORTEST_DEFERRAL, min(retry_after, LONGEST_RETRY_AFTER))

    def learn(self, tried: int, seconds: float) -> None:
        """So many targets took so long."""
        if tried:
            self.batch_size = next_batch_size(self.batch_size, tried, seconds)

    def hurry(self) -> None:
        """Whatever waits for its time is due now."""
        self.whole.retry.due = self.part.due = self.deferred_until = 0.0


def next_batch_size(size: int, asked: int, seconds: float) -> int:
    """How many targets to ask for next, after `asked` of at most `size` took `seconds`.

    A batch that a slow server cannot finish within its deadline would be asked for again and again, so the size follows
    what the server has shown to do; it grows only when a full batch was quick.
    """
    if seconds > ATTEMPT_SECONDS / 2:
        return max(1, min(size, asked) // 2)
    if asked >= size and seconds < ATTEMPT_SECONDS / 10:
        return min(size * 2, LARGEST_BATCH)
    return size
