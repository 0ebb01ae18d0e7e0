"""Messages that were heard before: known again by their ids, for a while. Pure: takes `now`, in monotonic seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from invalidator.messages import Invalidation

WINDOW = 60.0
"""Seconds for which a message is known, at least; at most twice as long."""
MOST = 100_000
"""Messages that are known, and what one turn brings more. With more in a window, the oldest are forgotten, and purged
for twice."""

_MASK = (1 << 64) - 1


class Repeats:
    """What one worker has taken in.

    A message is a repetition when all that it says is what another one of its id has said: who uses an id twice for
    different targets loses none of them. What comes again from the journal, with the same place there, is none: it is
    read again because it may not have been done.
    """

    def __init__(self, window: float = WINDOW, most: int = MOST) -> None:
        self._window = window
        self._most = most // 2
        # Two generations, and no time for each message: this is looked at for each one that comes.
        self._now: dict[int, str] = {}
        self._before: dict[int, str] = {}
        self._turned = 0.0

    def __len__(self) -> int:
        return len(self._now) + len(self._before)

    def is_repeat(self, message: Invalidation, now: float) -> bool:
        """Whether it has come before. If not, it is known from now on."""
        if not message.id:
            return False
        self._turn_if_due(now)
        key = key_of(message.id, message.targets, message.source, soft=message.soft)
        known = self._now.get(key)
        if known is None:
            known = self._before.get(key)
        if known is None:
            self._now[key] = message.journal
            return False
        return not known or known != message.journal

    def all_new(self, keys: Collection[int], now: float) -> bool:
        """Whether none of these has come before, in no journal, and no two are one. Known from now on, if it is so."""
        self._turn_if_due(now)
        new = dict.fromkeys(keys, "")
        known = (self._now.keys(), self._before.keys())  # of two views, the shorter is gone through
        if len(new) < len(keys) or not all(map(new.keys().isdisjoint, known)):
            return False
        self._now.update(new)
        return True

    def _turn_if_due(self, now: float) -> None:
        if now - self._turned >= self._window or len(self._now) >= self._most:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._before = self._now if now - self._turned < 2 * self._window else {}
        self._now = {}
        self._turned = now


def key_of(id_: str, targets: Hashable, source: str, *, soft: bool) -> int:
    """Of a message of this id, with all that it asks for and its source."""
    # Hashes of texts are keyed anew in each process: nobody can make two of them meet.
    return hash(id_) << 64 | hash((targets, soft, source)) & _MASK
