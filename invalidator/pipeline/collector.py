"""When a worker looks for cyclic garbage: at moments of its own, and not at Python's.

Nothing on a message's way is part of a cycle. But what waits for a backend may be hundreds of thousands of objects, and
Python, which counts what is made and kept, would go through all of them every few seconds under load. Everything that
has just arrived would wait for that, in every lane.
"""

from __future__ import annotations

import gc

YOUNG = (5_000, 5)
"""More objects than before in the youngest generation, and collections of it before the next one is looked at: at most
some ten thousand objects, a millisecond or two."""
NEVER = 1_000_000_000
EVERY = 600.0
"""Seconds from one look at all objects to the next: errors, and libraries, do make cycles. Most of these end young."""


class Collector:
    """Turned by the worker's loop. `now` is in monotonic seconds."""

    def __init__(self, now: float) -> None:
        gc.set_threshold(*YOUNG, NEVER)
        self._due = now + EVERY

    def turn(self, now: float) -> None:
        """Look at all objects, if it is time."""
        if now >= self._due:
            self._due = now + EVERY
            gc.collect()
