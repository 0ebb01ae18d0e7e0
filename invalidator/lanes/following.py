"""Lanes that come after others. What one has done is told to those behind it, and nobody holds two locks at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from invalidator.lanes.lane import Lane
from invalidator.lanes.tiers import Word
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.lanes.news import News
    from invalidator.lanes.ordered import Ordered


class Follower(Lane):
    """A lane that purges after all lanes of another backend have."""

    _pending: Ordered

    def __init__(self, pending: Ordered, **parts: Any) -> None:
        super().__init__(pending=pending, **parts)
        self._origins: list[Lane] = []

    def follow(self, origins: Sequence[Lane]) -> None:
        """Come after these lanes. To be called before any of them is started."""
        self._origins = list(origins)
        self._pending.follow([origin.policy for origin in origins])
        for place, origin in enumerate(origins):
            origin.herald.add(partial(self._hear, place), self._followed_through)

    @property
    def rank(self) -> int:
        return 1 + max((origin.rank for origin in self._origins), default=0)

    def owed(self, flushing: Sequence[Lane]) -> int:
        return sum(1 << place for place, origin in enumerate(self._origins) if origin in flushing)

    def _hear(self, place: int, news: News) -> None:
        """Called on the other lane's thread: never waits for a backend."""
        word = Word(1 << place, news.at, news.heard, news.root, news.journaled)
        with self._lock:
            if news.flush:
                homeless = self._pending.flushed(self._origins[place].policy, word, clock())
            else:
                homeless = self._pending.settled(news.targets, word, soft=news.soft, now=clock())
            if homeless:
                self._bury(homeless, "overflow")
            self._receipts.count(self._pending)
            self._condition.notify()
            given_up = self.herald.gave_up(homeless, self._pending, clock(), news.root)
        self.herald.tell(given_up)
        if self.backend.inline:
            self._changed()

    def take_refused(self) -> bool:
        with self._lock:
            return self._pending.take_refused()

    def _followed_through(self) -> float:
        """Up to where it has done what it was told of, and those that follow it as well."""
        with self._lock:
            own = self._pending.followed_through()
        return min(own, self.herald.followed_through())


def link(lanes: Sequence[Lane]) -> list[Lane]:
    """Have each lane follow the lanes of the backend that it comes after. Returns them in the order in which they go.

    A backend that is not there, and a circle, are errors of the topology, which has been checked.
    """
    for follower in (lane for lane in lanes if isinstance(lane, Follower)):
        follower.follow([lane for lane in lanes if lane.policy.backend == follower.policy.order.after])
    return sorted(lanes, key=lambda lane: lane.rank)
