"""What waits for other lanes before it goes to its own: the origin cache is purged first, the edge a delay later. Pure.

An edge that is purged before its origin is refilled from there with what is old. So each purge of the origin asks for
one of the edge, `delay` after it, whatever the edge has done before: that alone keeps the order, through failures and
retries. To wait for the origin first only spares the edge a purge that would have to be repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from invalidator.lanes.wishes import UNROOTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.lanes.wishes import Stamp

AFTER_LONGEST = 10.0
"""Seconds that a lane waits for one that it comes after, beyond what that one waits itself: it may be away for hours.

An edge that is purged without its origin may be refilled from there with what is old, so it is purged once more then;
one that is not purged at all is certain to serve it."""

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Order:
    """When a lane may purge. Times are seconds; the defaults are: at once, and no more.

    `after` is the backend whose lanes go first, for `patience` at most; `delay` runs from when they have. `rebound` is
    when a target that was purged is purged once more.
    """

    after: str = ""
    delay: float = 0.0
    rebound: float = 0.0
    patience: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether targets wait here before they may go."""
        return bool(self.after) or self.delay > 0


AT_ONCE = Order()


@dataclass(slots=True)
class Wish:
    """One item that waits. Times are monotonic seconds; `stamp` has what the oldest message that asked for it said.

    `owed` has a bit for each lane that has yet to purge it, which it was `offered` to with that number at last. `since`
    is when it came, `last` when another lane last purged it, and `due` when it may go.
    """

    owed: int
    soft: bool
    stamp: Stamp
    offered: int
    since: float
    last: float
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Word:
    """What one lane tells those that come after it: it has done with something at this monotonic second.

    `heard` is the number of the last offer that it had taken in before it began: what came later is not meant. `root`
    is that of the oldest offer that it has done something of: as long as this is outstanding here, it is there.
    `journaled`: all that it has done stands in a journal, behind what its cursor says.
    """

    lane: int
    at: float
    heard: int
    root: int = UNROOTED
    journaled: bool = False


@dataclass(slots=True)
class Hold(Generic[Item]):
    """Items in two queues: those that wait for other lanes, and those whose delay runs.

    An item that comes again while its delay runs waits beside itself, and begins its own delay when the first has gone:
    a delay that began anew each time would keep an item back for as long as it is invalidated. `patience` is how long
    one waits at most. What had to go early goes once more when the others have done with it.
    """

    delay: float
    patience: float
    limit: int
    stands_for: Callable[[Item], bool]
    """Whether a flush of this lane would take an item's place."""
    # Queues: the front of a plain dict is found only behind all that was taken from there.
    _waiting: OrderedDict[Item, Wish] = field(default_factory=OrderedDict)
    _delayed: OrderedDict[Item, Wish] = field(default_factory=OrderedDict)
    _early: dict[Item, Wish] = field(default_factory=dict)
    _last_due: float = 0.0
    _forgot: int = 0
    _forgot_offered: int = 0
    _lost: int = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._delayed)

    def __iter__(self) -> Iterator[Item]:
        yield from self._waiting
        yield from self._delayed

    def items(self) -> Iterator[tuple[Item, Wish]]:
        """Everything."""
        yield from self._waiting.items()
        yield from self._delayed.items()

    def __contains__(self, item: object) -> bool:
        return item in self._waiting or item in self._delayed

    def is_waiting(self, item: Item) -> bool:
        """Whether what comes now would be one with an item that waits."""
        return item in self._waiting

    def add(self, item: Item, owed: int, offered: int, stamp: Stamp, *, soft: bool, now: float) -> bool:
        """Keep an item until the lanes of `owed` have done with it. False: it is one with an item that waits."""
        if known := self._waiting.get(item):
            known.owed |= owed
            known.offered = offered
            known.soft &= soft
            known.stamp = known.stamp.with_(stamp)
            return False
        # One that waits for nobody leaves what the other lanes have yet to do with it to be remembered.
        early = self._early.pop(item, None) if owed else self._early.get(item)
        self._waiting[item] = Wish(owed, soft and (not early or early.soft), stamp, offered, now, now)
        self._advance(item)
        return True

    def settle(
        self, item: Item, word: Word, stamp: Stamp, *, soft: bool, again: bool = False, room: bool = True
    ) -> int:
        """A lane has done with an item, or (`again`) is to do it once more. Returns how many more items wait now.

        An item that does not wait yet has this `stamp`. Without `room`, one that does waits for both.
        """
        before = len(self)
        known = self._waiting.get(item)
        if known is None:
            known = self._waiting[item] = Wish(word.lane, soft and self._was_soft(item), stamp, 0, word.at, word.at)
        self._excuse(item, word.lane)
        known.stamp = known.stamp.after(word.root)
        known.soft &= soft
        known.last = max(known.last, word.at)
        if not again and known.offered <= word.heard:
            known.owed &= ~word.lane
            self._advance(item)
        elif room and known.owed == word.lane and item not in self._delayed:
            # What is purged again and again there is purged here for each time, as far as the delay allows.
            self._run(item, replace(known))
        return len(self) - before

    def settle_covered(self, is_covered: Callable[[Item], bool], word: Word) -> list[Item]:
        """A lane has done a flush. Returns what had gone early and is covered by it too: `settle` each."""
        for item, wish in list(self._waiting.items()):
            if wish.owed & word.lane and wish.offered <= word.heard and is_covered(item):
                wish.owed &= ~word.lane
                wish.last = max(wish.last, word.at)
                wish.stamp = wish.stamp.after(word.root)
                self._advance(item)
        early = self._early.items()
        return [i for i, wish in early if wish.owed & word.lane and wish.offered <= word.heard and is_covered(i)]

    def next_due(self) -> float:
        """The second at which the next item may go, or must; infinite if there is none."""
        return min((*self._first_delayed(), *self._first_overdue(), float("inf")))

    def release(self, now: float, most: int) -> list[tuple[Item, Wish]]:
        """What may go now, or has waited for as long as an item waits; about so many at most."""
        free: list[tuple[Item, Wish]] = []
        while len(free) < most and any(due <= now for due in self._first_delayed()):
            free.append(self._delayed.popitem(last=False))
            self._advance(free[-1][0])
        while len(free) < 2 * most and any(due <= now for due in self._first_overdue()):
            free.append(self._waiting.popitem(last=False))
            self._remember(*free[-1])
        return free

    def wait_anew(self, now: float) -> None:
        """What waits for other lanes has all of its patience again."""
        for wish in self._waiting.values():
            wish.since = max(wish.since, now)

    def drain(self) -> list[tuple[Item, Wish]]:
        """Everything, at once."""
        everything = [*self._delayed.items(), *self._waiting.items()]
        for part in (self._delayed, self._waiting, self._early):
            part.clear()
        return everything

    def drop(self, is_needless: Callable[[Item], bool]) -> list[Stamp]:
        """Let go of what a flush stands for. Returns the stamps of those items."""
        dropped = []
        for part in (self._waiting, self._delayed):
            for item in [item for item in part if is_needless(item)]:
                wish = part.pop(item)
                self.forget(wish.owed, wish.offered)
                dropped.append(wish.stamp)
        return dropped

    def forget(self, owed: int, offered: int) -> None:
        """An item that these lanes have yet to purge is not known by name any more."""
        self._forgot |= owed
        self._forgot_offered = max(self._forgot_offered, offered)

    def has_forgotten(self, word: Word) -> bool:
        """Whether a lane that has done a flush may have purged what is not known by name. To be asked once."""
        meant = bool(self._forgot & word.lane)
        if self._forgot_offered <= word.heard:
            self._forgot &= ~word.lane
        return meant

    def count_lost(self) -> int:
        """How many forgotten items there were since this was asked last for which no flush would stand."""
        count, self._lost = self._lost, 0
        return count

    def _first_delayed(self) -> Iterator[float]:
        return (wish.due for wish in islice(self._delayed.values(), 1))

    def _first_overdue(self) -> Iterator[float]:
        return (wish.since + self.patience for wish in islice(self._waiting.values(), 1))

    def _advance(self, item: Item) -> None:
        wish = self._waiting.get(item)
        if wish and not wish.owed and item not in self._delayed:
            self._run(item, self._waiting.pop(item))

    def _run(self, item: Item, wish: Wish) -> None:
        # The queue is in the order of `due`: lanes may tell of what they did a moment after they did it.
        wish.due = self._last_due = max(self._last_due, wish.last + self.delay)
        self._delayed[item] = wish

    def _remember(self, item: Item, wish: Wish) -> None:
        if not wish.owed:
            return
        if known := self._early.get(item):
            known.owed |= wish.owed
            known.offered = max(known.offered, wish.offered)
            known.soft &= wish.soft
        elif len(self._early) < self.limit:
            self._early[item] = wish
        else:
            self._lost += not self.stands_for(item)
            self.forget(wish.owed, wish.offered)

    def _was_soft(self, item: Item) -> bool:
        early = self._early.get(item)
        return early is None or early.soft

    def _excuse(self, item: Item, lane: int) -> None:
        if early := self._early.get(item):
            early.owed &= ~lane
            if not early.owed:
                del self._early[item]
