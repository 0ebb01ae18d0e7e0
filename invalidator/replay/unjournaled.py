"""Messages that stand in no journal: they are purged like all others, and nobody can read them again after a Gap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.slots import clock

if TYPE_CHECKING:
    from invalidator.replay.book import Book
    from invalidator.slots import WorkerSlots

MATTERS = 3600.0
"""Seconds for which a worker that has heard one does not take a replay of the journal for enough."""
_STEP = 60.0
"""Seconds after which it is written down anew that there are such messages."""


class Unjournaled:
    """Counts them, and remembers when the last one came, over the end of the process too."""

    def __init__(self, slots: WorkerSlots, book: Book) -> None:
        self._slots = slots
        self._book = book
        self._last = float("-inf")

    def count(self, messages: int) -> None:
        """So many have come."""
        if not messages:
            return
        self._slots.add("unjournaled", messages)
        self._last, wall = clock(), time.time()
        if abs(wall - self._book.unjournaled) > _STEP:
            self._book.unjournaled, self._book.due = wall, 0.0  # at once: a successor has to know

    def is_known_after(self) -> bool:
        """Whether a process after this one would know, whenever this one is killed."""
        return time.time() - self._book.mark < MATTERS - _STEP

    def were_heard_lately(self) -> bool:
        """Whether a Gap may have taken some with it."""
        # By both clocks: the one knows nothing of a former process, and the other may have been set.
        return clock() - self._last < MATTERS or time.time() - self._book.unjournaled < MATTERS
