"""Distinct targets, and what contains what. Pure."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from invalidator.messages import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from invalidator.messages import Keys

Name = str | Target
"""What a target is called in a lane: a key by its text alone, anything else as it is. Nearly all targets are keys, and
texts are made, found and copied many at once."""

UNROOTED = sys.maxsize
"""Above the number of every offer."""


class Stamp(Struct, frozen=True, gc=False):  # made in half the time of a tuple, and the collector never sees it
    """Of the messages that asked for a target: what the oldest said, and whether all of them come again by themselves.

    `ts` is the publisher's time (wall seconds), if it said one; `number` that of the offer it came with: until the
    target has ended, that offer has not. `journaled`: all of them stand in a journal that this worker reads.

    `root` is the number of an older offer which has ended, and of which this is what is done once more: after a lane
    that goes first, or as a rebound. Nobody reads that offer again for this one's sake, unless a cursor waits for it.
    """

    ts: float | None
    number: int
    journaled: bool = False
    root: int = UNROOTED

    @property
    def first(self) -> int:
        """The number of the oldest offer of which this is something that is left to be done."""
        return min(self.number, self.root)

    def with_(self, other: Stamp) -> Stamp:
        """Of two wishes that become one."""
        older = self if self.number <= other.number else other
        journaled, root = self.journaled and other.journaled, min(self.root, other.root)
        if (older.journaled, older.root) == (journaled, root):
            return older
        return replace(older, journaled=journaled, root=root)

    def after(self, root: int) -> Stamp:
        """The same, which is to be done after something of the offer `root` was done elsewhere."""
        # What comes again by itself, is done after that in any case.
        comes_again = self.journaled and self.root == UNROOTED
        return self if comes_again or self.root <= root else replace(self, root=root)


Stamps = dict[Name, Stamp]


def name_of(target: Target) -> Name:
    """What it is called in a lane."""
    return target.value if target.kind == "key" else target


def target_of(name: Name) -> Target:
    """What is called so."""
    return Target("key", name) if isinstance(name, str) else name


def as_one(stamps: Collection[Stamp]) -> Stamp:
    """What holds for all of these: the oldest number, and whether each comes again by itself."""
    first = min((stamp.first for stamp in stamps), default=UNROOTED)
    return Stamp(None, first, all(stamp.journaled for stamp in stamps))


def covers(wider: Target, target: Target) -> bool:
    """Whether purging `wider` purges `target` too."""
    if wider.kind == "prefix":
        return target.kind in ("key", "prefix") and target.value.startswith(wider.value)
    return wider.kind == "all" or wider == target


@dataclass(slots=True)
class Wishes:
    """Distinct targets, each to be removed (hard) or marked stale (soft). Removing contains marking."""

    hard: Stamps = field(default_factory=dict)
    soft: Stamps = field(default_factory=dict)
    took_soft: bool = True
    has_wider: bool = False
    """Whether a prefix may be among them, or all: what may contain others."""

    def __len__(self) -> int:
        return len(self.hard) + len(self.soft)

    def has(self, name: Name, *, soft: bool) -> bool:
        """Whether this target is wished for at least as hard."""
        return name in self.hard or (soft and name in self.soft)

    def put(self, name: Name, stamp: Stamp, *, soft: bool) -> int:
        """Wish for a target that is not wished for as hard. Returns how many softer wishes it took the place of."""
        self.has_wider = self.has_wider or (not isinstance(name, str) and name.kind in ("prefix", "all"))
        if soft:
            self.soft[name] = stamp
            return 0
        if name not in self.soft:
            self.hard[name] = stamp
            return 0
        self.hard[name] = self.soft.pop(name).with_(stamp)
        return 1

    def put_keys(self, keys: Keys, stamp: Stamp) -> int:
        """Wish for keys, where no wish is soft. Returns how many wishes became one with others.

        What several publishers have said of the time goes before what the stamp says; those stand in no journal.
        """
        hard, before, names = self.hard, len(self.hard), keys.names
        # Who was wished for before keeps its stamp: an offer has not ended before all of its targets have.
        if keys.times:
            stamps = map(Stamp, keys.times, repeat(stamp.number))
            deque(map(hard.setdefault, names, stamps), maxlen=0)
        elif hard:
            hard.update(dict.fromkeys([name for name in names if name not in hard], stamp))
        else:
            self.hard = hard = dict.fromkeys(names, stamp)
        return len(keys) - (len(hard) - before)

    def join(self, name: Name, stamp: Stamp) -> None:
        """One more message asks for a target that is wished for as hard."""
        part = self.hard if name in self.hard else self.soft
        part[name] = part[name].with_(stamp)

    def take(self, limit: int) -> tuple[Stamps, bool]:
        """The oldest wishes of one hardness, at most `limit`; and whether they are soft ones.

        The two take turns: a stream of one must not keep the other waiting for ever.
        """
        soft = not self.hard or (bool(self.soft) and not self.took_soft)
        self.took_soft = soft
        source = self.soft if soft else self.hard
        if len(source) > limit:
            return {name: source.pop(name) for name in list(islice(source, limit))}, soft
        if soft:
            self.soft = {}
        else:
            self.hard = {}
        return source, soft

    def put_back(self, stamps: Stamps, *, soft: bool) -> int:
        """Wish again for what was taken, in front of what came since. Returns how many wishes became one."""
        before = len(self) + len(stamps)
        self.has_wider = True  # one of these may be
        if soft:
            for name in stamps.keys() & self.hard.keys():
                self.join(name, stamps[name])
            stamps = {name: stamp for name, stamp in stamps.items() if name not in self.hard}
            self.soft = _in_front(stamps, self.soft)
        else:
            softer = {name: self.soft.pop(name) for name in stamps.keys() & self.soft.keys()}
            self.hard = _in_front(_in_front(stamps, softer), self.hard)
        return before - len(self)

    def drop(self, is_needless: Callable[[Target], bool]) -> list[Stamp]:
        """Forget the needless ones. Returns their stamps."""
        dropped = []
        for part in (self.hard, self.soft):
            for name in [name for name in part if is_needless(target_of(name))]:
                dropped.append(part.pop(name))  # noqa: PERF401  a comprehension would hide what it changes
        return dropped

    def clear(self) -> None:
        """Forget all."""
        self.hard.clear()
        self.soft.clear()


def _in_front(stamps: Stamps, others: Stamps) -> Stamps:
    # A merge keeps the places of its left side and the values of its right.
    both = {name: stamps[name].with_(others[name]) for name in stamps.keys() & others.keys()}
    return stamps | others | both


@dataclass(slots=True)
class Backlog:
    """What waits in one lane: wishes that are fresh, and those that failed and are to be tried again later."""

    fresh: Wishes = field(default_factory=Wishes)
    again: Wishes = field(default_factory=Wishes)
    retried: bool = False
    """Whether those that had failed were chosen last."""

    def __len__(self) -> int:
        fresh, again = self.fresh, self.again
        return len(fresh.hard) + len(fresh.soft) + len(again.hard) + len(again.soft)  # asked at each message

    def has(self, name: Name, *, soft: bool) -> bool:
        """Whether this target is wished for at least as hard."""
        fresh, again = self.fresh, self.again
        return name in fresh.hard or name in again.hard or (soft and (name in fresh.soft or name in again.soft))

    def join(self, name: Name, stamp: Stamp, *, soft: bool) -> None:
        """One more message asks for a target that is wished for as hard."""
        (self.fresh if self.fresh.has(name, soft=soft) else self.again).join(name, stamp)

    def put(self, name: Name, stamp: Stamp, *, soft: bool) -> int:
        """Wish for a target. Returns how many wishes became one with others."""
        if not self.has(name, soft=soft):
            return self.fresh.put(name, stamp, soft=soft)
        self.join(name, stamp, soft=soft)
        return 1

    def put_aside(self, name: Name, stamp: Stamp, *, soft: bool) -> int:
        """It has failed: try it again later, unless it is wished for anyway. Returns as `put`."""
        if not self.fresh.has(name, soft=soft):
            return self.again.put(name, stamp, soft=soft)
        self.fresh.join(name, stamp)
        return 1

    def choose(self, *, fresh: bool, again: bool) -> Wishes:
        """What is taken next, of those that may be: each by itself, and in turn.

        Who has failed may be the reason for which others would.
        """
        self.retried = again and not (fresh and self.retried)
        return self.again if self.retried else self.fresh

    def items(self) -> Iterator[tuple[Target, Stamp]]:
        """Everything, with its stamp."""
        for wishes in (self.fresh, self.again):
            for part in (wishes.hard, wishes.soft):
                yield from ((target_of(name), stamp) for name, stamp in part.items())

    def stamps(self) -> Iterator[Stamp]:
        """Of everything."""
        for wishes in (self.fresh, self.again):
            yield from wishes.hard.values()
            yield from wishes.soft.values()

    def drop_covered(self, wider: Sequence[Target]) -> list[Stamp]:
        """Forget what these contain. Returns their stamps."""

        def is_covered(target: Target) -> bool:
            return any(covers(one, target) for one in wider)

        return self.fresh.drop(is_covered) + self.again.drop(is_covered)

    @property
    def takes_keys(self) -> bool:
        """Whether keys that are to be removed can be put many at once: nothing but such a wish could meet them."""
        return not (self.fresh.soft or self.again)

    def clear(self) -> None:
        """Forget all."""
        self.fresh.clear()
        self.again.clear()
