"""Up to which offer a lane has done everything: what cursors, receipts and the retry of dead letters build on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.lanes.wishes import UNROOTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(slots=True)
class Watermark:
    """The number before the oldest that is outstanding, found when somebody asks: taking targets in costs nothing.

    What comes in later has a higher number, so that an answer is good until something ends.
    """

    _oldest: int | None = None
    _end: int | None = None

    def settled_through(self, outstanding: Callable[[], Iterable[int]], heard: int) -> int:
        """The number up to which everything has ended, of the offers up to the one that was `heard` last."""
        if self._oldest is None:
            self._oldest = min(outstanding(), default=None)
        first = heard + 1 if self._oldest is None else self._oldest
        return (first if self._end is None else min(first, self._end)) - 1

    def forget(self) -> None:
        """Something is about to end."""
        self._oldest = None

    def end_at(self, numbers: Iterable[int]) -> None:
        """These will not be done here, and are known to nobody else: no later answer goes beyond them."""
        self._end = min(numbers, default=self._end)
        self.forget()


@dataclass(slots=True)
class Roots:
    """The oldest root of what is outstanding: costs nothing where there is none, which is nearly always."""

    _oldest: int | None = UNROOTED

    def note(self) -> None:
        """Something with a root may become outstanding."""
        self._oldest = None

    def forget(self) -> None:
        """Something is about to end."""
        self._oldest = None if self._oldest != UNROOTED else self._oldest

    def oldest(self, outstanding: Callable[[], Iterable[int]]) -> int:
        """Found when somebody asks; UNROOTED if there is none."""
        if self._oldest is None:
            self._oldest = min(outstanding(), default=UNROOTED)
        return self._oldest
