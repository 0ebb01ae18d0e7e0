"""Distinct targets, and what contains what. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from invalidator.messages import Target

Stamps = dict["Target", "float | None"]
"""Targets, each with the publisher's time (wall seconds) of the oldest message that asked for it, if it said one."""


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

    def __len__(self) -> int:
        return len(self.hard) + len(self.soft)

    def __iter__(self) -> Iterator[Target]:
        yield from self.hard
        yield from self.soft

    def has(self, target: Target, *, soft: bool) -> bool:
        """Whether this target is wished for at least as hard."""
        return target in self.hard or (soft and target in self.soft)

    def put(self, target: Target, ts: float | None, *, soft: bool) -> int:
        """Wish for a target that is not wished for as hard. Returns how many softer wishes it took the place of."""
        if soft:
            self.soft[target] = ts
            return 0
        before = len(self.soft)
        self.soft.pop(target, None)
        self.hard[target] = ts
        return before - len(self.soft)

    def take(self, limit: int) -> tuple[Stamps, bool]:
        """The oldest wishes of one hardness, at most `limit`; and whether they are soft ones.

        The two take turns: a stream of one must not keep the other waiting for ever.
        """
        soft = not self.hard or (bool(self.soft) and not self.took_soft)
        self.took_soft = soft
        source = self.soft if soft else self.hard
        if len(source) <= limit:
            taken = source.copy()
            source.clear()
        else:
            taken = {target: source.pop(target) for target in list(source)[:limit]}
        return taken, soft

    def put_back(self, stamps: Stamps, *, soft: bool) -> int:
        """Wish again for what was taken, in front of what came since. Returns how many wishes became one."""
        before = len(self) + len(stamps)
        # A merge keeps the places of its left side and the values of its right: wanted are the old ones of both.
        if soft:
            stamps = {target: ts for target, ts in stamps.items() if target not in self.hard}
            self.soft = stamps | self.soft | stamps
        else:
            self.soft = {target: ts for target, ts in self.soft.items() if target not in stamps}
            self.hard = stamps | self.hard | stamps
        return before - len(self)

    def drop(self, is_needless: Callable[[Target], bool]) -> int:
        """Forget the needless ones. Returns how many that were."""
        before = len(self)
        self.hard = {target: ts for target, ts in self.hard.items() if not is_needless(target)}
        self.soft = {target: ts for target, ts in self.soft.items() if not is_needless(target)}
        return before - len(self)

    def clear(self) -> None:
        """Forget all."""
        self.hard.clear()
        self.soft.clear()


@dataclass(slots=True)
class Backlog:
    """What waits in one lane: wishes that are fresh, and those that failed and are to be tried again later."""

    fresh: Wishes = field(default_factory=Wishes)
    again: Wishes = field(default_factory=Wishes)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.again)

    def __iter__(self) -> Iterator[Target]:
        yield from self.fresh
        yield from self.again

    def has(self, target: Target, *, soft: bool) -> bool:
        """Whether this target is wished for at least as hard."""
        return self.fresh.has(target, soft=soft) or self.again.has(target, soft=soft)

    def put(self, target: Target, ts: float | None, *, soft: bool) -> int:
        """Wish for a target. Returns how many wishes became one with others."""
        return 1 if self.has(target, soft=soft) else self.fresh.put(target, ts, soft=soft)

    def put_aside(self, target: Target, ts: float | None, *, soft: bool) -> int:
        """It has failed: try it again later, unless it is wished for anyway. Returns as `put`."""
        return 1 if self.fresh.has(target, soft=soft) else self.again.put(target, ts, soft=soft)

    def wish_again(self) -> int:
        """What was put aside is as good as fresh, behind what is. Returns as `put`."""
        again, self.again = self.again, Wishes()
        hard = sum(self.put(target, ts, soft=False) for target, ts in again.hard.items())
        return hard + sum(self.put(target, ts, soft=True) for target, ts in again.soft.items())

    def drop_covered(self, wider: Sequence[Target]) -> int:
        """Forget what these contain. Returns how many that was."""

        def is_covered(target: Target) -> bool:
            return any(covers(one, target) for one in wider)

        return self.fresh.drop(is_covered) + self.again.drop(is_covered)

    def clear(self) -> None:
        """Forget all."""
        self.fresh.clear()
        self.again.clear()
