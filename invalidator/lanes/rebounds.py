"""Targets that are purged once more, a while after: for a cache that may have been refilled with what was old. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.lanes.wishes import Stamp
    from invalidator.messages import Target


class Rebound(NamedTuple):
    """When a target is purged once more, whether it is only marked stale, and what began it."""

    due: float
    soft: bool
    stamp: Stamp

    @property
    def number(self) -> int:
        """Of the offer that began it."""
        return self.stamp.first


@dataclass(slots=True)
class Rebounds:
    """At most one for each target: the time runs from its last purge. What is a rebound itself makes no other."""

    after: float
    limit: int
    _due: OrderedDict[Target, Rebound] = field(default_factory=OrderedDict)
    _echoes: dict[Target, int] = field(default_factory=dict)
    _last_due: float = 0.0

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Target]:
        return iter(self._due)

    def add(self, target: Target, now: float, stamp: Stamp, *, soft: bool) -> int:
        """A target was purged. Returns how many rebounds became one with this."""
        known = self._due.pop(target, None)
        self._last_due = max(self._last_due, now + self.after)
        self._due[target] = Rebound(self._last_due, soft and (not known or known.soft), stamp)
        return int(known is not None)

    def numbers(self, is_pending: Callable[[Target], bool]) -> Iterator[int]:
        """Of the offers of which something is yet to be purged once more, or that is pending."""
        yield from (rebound.number for rebound in self._due.values())
        yield from (number for target, number in self._echoes.items() if is_pending(target))

    def wished(self, target: Target, *, soft: bool) -> int:
        """A target is to be purged anyway. Returns how many rebounds that makes needless: its purge has its own."""
        self._echoes.pop(target, None)
        known = self._due.get(target)
        if known is None or (soft and not known.soft):
            return 0
        del self._due[target]
        return 1

    def echo(self, target: Target, number: int) -> None:
        """What is wished for now is a rebound."""
        if len(self._echoes) >= self.limit:
            self._echoes.clear()  # of some that were never purged; those that will be make one rebound too many
        self._echoes[target] = number

    def was_echo(self, target: Target) -> bool:
        """Whether what was purged now was a rebound. To be asked once."""
        return self._echoes.pop(target, None) is not None

    def forget_echoes(self) -> None:
        """A flush stands for some that are under way: those that remain may make one rebound too many."""
        self._echoes.clear()

    def next_due(self) -> float:
        """The second at which the next one is due; infinite if there is none."""
        return next(iter(self._due.values())).due if self._due else float("inf")

    def release(self, now: float, most: int) -> list[tuple[Target, Rebound]]:
        """Those that are due, at most so many."""
        free: list[tuple[Target, Rebound]] = []
        while len(free) < most and self.next_due() <= now:
            free.append(self._due.popitem(last=False))
        return free

    def drain(self) -> list[tuple[Target, Rebound]]:
        """Everything, at once."""
        everything = list(self._due.items())
        self._due.clear()
        self._echoes.clear()
        return everything

    def drop(self, is_needless: Callable[[Target], bool]) -> int:
        """Forget the needless ones. Returns how many that were."""
        before = len(self)
        for target in [target for target in self._due if is_needless(target)]:
            del self._due[target]
        return before - len(self)
