"""When a worker's process has served long enough: its messages are counted, and its memory is looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.supervision.incarnation import Incarnation

EVERY = 2.0
"""Seconds between two looks."""
REST = 10.0
"""Seconds between two recyclings of one worker, at least; twice as many each time that it was in vain."""
LONGEST_REST = 300.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Recycling:
    """Of one worker. `wanted` is to be asked whenever the loop turns."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._last = float("-inf")
        self._rest = REST

    def next_due(self, one: Incarnation, now: float) -> float:
        """Seconds until the next look."""
        limits = one.spec.max_messages, one.spec.max_rss
        return float("inf") if limits == (None, None) else max(0.0, self._next_look - now)

    def wanted(self, one: Incarnation, now: float) -> str:
        """Why this process is to be replaced, for a person; empty: it is not."""
        if self.next_due(one, now) > 0:
            return ""
        self._next_look = now + EVERY
        why = _beyond(one)
        if not why or now - self._last < self._rest:
            return ""
        # A limit that is too low for what a worker needs at its start would have it replaced for ever.
        in_vain = now - one.began < 2 * self._rest and self._last > float("-inf")
        self._rest = min(LONGEST_REST, 2 * self._rest) if in_vain else REST
        self._last = now
        return why


def _beyond(one: Incarnation) -> str:
    messages, memory = one.spec.max_messages, one.spec.max_rss
    if messages is not None and (received := one.received()) >= messages:
        return f"{received} messages, max_messages is {messages}"
    if memory is not None and (rss := rss_of(one.pid)) > memory:
        return f"{rss} bytes resident, max_rss is {memory}"
    return ""


def rss_of(pid: int | None) -> int:
    """The resident memory of a process, in bytes; 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
