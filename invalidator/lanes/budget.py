"""Which failures are a target's own, and how often it may fail. Pure: takes `now`.

A backend that is away fails for everybody, and spends nobody's budget: it is asked until it is back. A target that
fails again and again while the backend does others between is poison, whatever the backend says of it. It must come to
an end: it would be asked for without end, and what waits for all to be done, as a cursor does, would never move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from invalidator.lanes.wishes import covers, target_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from invalidator.lanes.wishes import Name
    from invalidator.messages import FailureReason, PurgeResult, Target

MOST_ATTEMPTS = 10
"""Attempts of one target, each with a success of others before it, after which it is given up."""
LEAST_SECONDS = 60.0
"""From its first failure until then at the least: one part of a backend may be started anew meanwhile."""

AWAY: frozenset[FailureReason] = frozenset({"timeout", "unreachable", "auth", "rate_limited", "unsupported"})
"""Reasons that say more of a backend than of a target: any other would have met the same."""

CONFIGURATION: frozenset[FailureReason] = frozenset({"auth", "unsupported"})
"""Of these, those that somebody has to mend: a token, a method that the server does not know."""


@dataclass(slots=True)
class Spent:
    """What one target has used up: its attempts, since when, and how often the backend had purged something by then."""

    attempts: int
    since: float
    seen: int


class Budgets:
    """Of one lane's targets: of those alone that have failed on their own."""

    def __init__(self) -> None:
        self._spent: dict[Target, Spent] = {}
        self._successes = 0

    def __len__(self) -> int:
        return len(self._spent)

    def judge(self, result: PurgeResult, flight: Collection[Name], now: float) -> PurgeResult:
        """The backend's answer to what is in flight; whoever has used up its budget is not to be tried again."""
        failed = {failure.target for failure in result.failures}
        undone = failed.union(result.deferred)
        if not undone and not self._spent:
            return result  # what the backend takes matters to those that have spent something
        targets = {target_of(name) for name in flight}
        if self._spent:
            self._forget(target for target in targets if target not in undone)
        purged = not undone.issuperset(targets)
        self._successes += purged
        if not failed:
            return result
        # A backend that is never asked for anything it takes is away; one that took something between is not.
        own = purged or len(flight) == 1 or CONFIGURATION.issuperset(failure.reason for failure in result.failures)
        over = {
            failure.target
            for failure in result.failures
            if failure.retry and failure.target in targets and self._spend(failure.target, now, own=own, purged=purged)
        }
        self._forget({*over, *(failure.target for failure in result.failures if not failure.retry)})
        if not over:
            return result
        judged = (replace(failure, retry=failure.retry and failure.target not in over) for failure in result.failures)
        return replace(result, failures=tuple(judged))

    def blames(self, names: Collection[Name], reasons: Iterable[FailureReason]) -> bool:
        """Whether a batch of which nothing was purged says something of these targets, and nothing of the backend."""
        return (AWAY - CONFIGURATION).isdisjoint(reasons) and all(
            (spent := self._spent.get(target_of(name))) and spent.attempts > 0 for name in names
        )

    def drop_covered(self, wider: Collection[Target]) -> None:
        """A flush takes the place of what these contain."""
        self._forget([target for target in self._spent if any(covers(one, target) for one in wider)])

    def _spend(self, target: Target, now: float, *, own: bool, purged: bool) -> bool:
        """It has failed. Whether it has done so too often."""
        spent = self._spent.get(target)
        if spent is None:
            if not own:
                return False  # or the targets of a backend that is away would all be kept twice
            spent = self._spent[target] = Spent(0, now, self._successes - purged)
        if self._successes > spent.seen:
            spent.attempts += 1
            spent.seen = self._successes
        return spent.attempts >= MOST_ATTEMPTS and now - spent.since >= LEAST_SECONDS

    def _forget(self, targets: Iterable[Target]) -> None:
        for target in targets:
            self._spent.pop(target, None)
