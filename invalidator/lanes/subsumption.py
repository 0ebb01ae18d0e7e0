"""Subsumed: what a pending prefix contains, or all of it, is purged with that, and not by itself as well. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from invalidator.lanes.coalescer import Pending
from invalidator.lanes.wishes import target_of
from invalidator.messages import EVERYTHING, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.lanes.wishes import Name, Stamps, Wishes
    from invalidator.messages import Batch

MOST_LOOKS = 50_000
"""Looks in one turn: names, times the different lengths of the prefixes. With more to look at each is purged by itself:
that asks for more than is needed, and no message can make a lane think for longer than its cache would work."""


class Wider(NamedTuple):
    """The prefixes among some names, with their lengths from the shortest on; and whether all is among them."""

    everything: bool
    prefixes: frozenset[str]
    lengths: tuple[int, ...]

    def container(self, name: Name) -> Target | None:
        """The widest other one that contains this name."""
        if self.everything:
            return None if name == EVERYTHING else EVERYTHING
        target = target_of(name)
        if target.kind not in ("key", "prefix"):
            return None
        for length in self.lengths:
            head = target.value[:length]
            if head in self.prefixes and target != Target("prefix", head):
                return Target("prefix", head)
        return None


def wider_of(names: Iterable[Name]) -> Wider:
    """What may contain others."""
    targets = [name for name in names if not isinstance(name, str)]
    prefixes = frozenset(target.value for target in targets if target.kind == "prefix")
    return Wider(EVERYTHING in targets, prefixes, tuple(sorted({len(prefix) for prefix in prefixes})))


def subsume(wishes: Wishes) -> int:
    """Leave only what nothing else contains that is wished for at least as hard. Returns how many became one with it.

    What contains another one takes over its stamp: an offer has not ended before all of its targets have.
    """
    if not wishes.has_wider:
        return 0
    before = len(wishes)
    hard, soft = wider_of(wishes.hard), wider_of(wishes.soft)
    _move(wishes.hard, wishes.hard, hard)
    _move(wishes.soft, wishes.hard, hard)
    _move(wishes.soft, wishes.soft, soft)
    wishes.has_wider = any(wider.everything or wider.prefixes for wider in (hard, soft))
    return before - len(wishes)


def _move(inner: Stamps, outer: Stamps, wider: Wider) -> None:
    if not (wider.everything or wider.prefixes) or len(inner) * len(wider.lengths) > MOST_LOOKS:
        return
    for name in list(inner):
        if (container := wider.container(name)) is not None and container in outer:
            outer[container] = outer[container].with_(inner.pop(name))


@dataclass(slots=True)
class Subsuming(Pending):
    """One lane's work, of which each target is purged once, and no more widely than it was asked for."""

    is_followed: bool = False
    """Whether another lane comes after this one, which waits for each target by itself: nothing is subsumed then."""

    def take(self, now: float) -> Batch | None:
        """See Pending."""
        # Only where a batch is given: a lane that waits for its backend is woken by each message.
        if not self.is_followed and not self.is_asking() and self.next_due(now) <= 0:
            self.ends["coalesced"] += subsume(self._backlog.fresh)
        return Pending.take(self, now)  # a dataclass with slots is another class than the one that super() knows
