"""Who asked to be told what has become of a message: a lane keeps them in mind until it has done with it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from invalidator.lanes.wishes import covers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from invalidator.lanes.policy import Policy
    from invalidator.messages import Invalidation, Target

MOST_REPLIES = 1_000
"""Messages that a lane keeps in mind. Of more at a time the oldest are forgotten: who waits for them waits in vain."""

FateEnd = Literal["purged", "flushed", "skipped", "dead", "lost"]


class Fate(NamedTuple):
    """What became of a whole message in one lane: of its targets, what is worst.

    `flushed`: a flush stands for some of it. `skipped`: the backend takes no target of a kind that it has, or it was a
    rehearsal. `dead` and `lost` have the reason of one of them. `began` is the monotonic second at which it came.
    """

    end: FateEnd
    began: float
    reason: str = ""


Answer = Callable[[str, "Invalidation", Fate, float], None]
"""Called with the server that a lane is for, a message with `reply`, its fate and the monotonic second.

From the lane's own thread or the worker's loop, under no lock: it must not wait.
"""


@dataclass(slots=True)
class _Open:
    number: int
    invalidation: Invalidation
    began: float
    unpurged: frozenset[Target]
    end: FateEnd | None = None
    reason: str = ""


class Replies:
    """Of one lane. Costs nothing while there are none."""

    def __init__(self, policy: Policy, limit: int = MOST_REPLIES) -> None:
        self._policy = policy
        self._open: deque[_Open] = deque(maxlen=limit)

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, invalidation: Invalidation, number: int, now: float) -> None:
        """This message comes with the offer of that number, and its publisher waits."""
        taken = frozenset(target for target in invalidation.targets if self._policy.takes(target.kind))
        skipped = self._policy.dry_run or len(taken) < len(frozenset(invalidation.targets))
        self._open.append(_Open(number, invalidation, now, taken, "skipped" if skipped else None))

    def purged(self, targets: Iterable[Target]) -> None:
        """A batch has purged these."""
        purged = frozenset(targets)
        for one in self._open:
            one.unpurged = one.unpurged if one.unpurged.isdisjoint(purged) else one.unpurged - purged
            one.unpurged -= contained(one.unpurged, purged)

    def died(self, targets: Sequence[Target], kept: int, reason: str) -> None:
        """Nobody will purge these: the first so many are kept as dead letters, the rest is lost."""
        dead, lost = frozenset(targets[:kept]), frozenset(targets[kept:])
        for one in self._open:
            named = one.invalidation.targets
            if not lost.isdisjoint(named) or contained(one.unpurged, lost):
                one.end, one.reason = "lost", reason
            elif one.end != "lost" and (not dead.isdisjoint(named) or contained(one.unpurged, dead)):
                one.end, one.reason = "dead", reason

    def take(self, through: int) -> list[tuple[Invalidation, Fate]]:
        """The messages that came with offers up to this number, all of which have ended."""
        ended = []
        while self._open and self._open[0].number <= through:
            one = self._open.popleft()
            end = one.end or ("flushed" if one.unpurged else "purged")
            ended.append((one.invalidation, Fate(end, one.began, one.reason)))
        return ended


def contained(targets: Collection[Target], others: Iterable[Target]) -> frozenset[Target]:
    """Those that a prefix among the others contains, or all: that may be what they were purged with."""
    wider = [other for other in others if other.kind in ("prefix", "all")] if targets else []
    return frozenset(target for target in targets if any(covers(one, target) for one in wider))
