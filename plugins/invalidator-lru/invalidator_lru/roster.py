"""A roster: who feeds one table by the topology in force, in memory that the supervisor shares with its workers."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from invalidator_lru.table import MAX_FEEDERS, WORD

if TYPE_CHECKING:
    from collections.abc import Collection


class Roster:
    """Made and written by the supervisor alone; the workers that it forks afterwards read it.

    They know their topology as it was at their fork. A reload leaves those alone that it does not change, and may add
    a feeder all the same: a table that is made again without it would be trusted without it.
    """

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, (1 + MAX_FEEDERS) * WORD)).cast("Q")

    def begin(self) -> None:
        """The supervisor works on the table now: nobody else may."""
        self._words[0] |= 1

    def end(self, names: Collection[int] | None = None) -> None:
        """These are its feeders from now on, as hashed names; None: the same as before."""
        if names is not None:
            for place, name in enumerate([*names, *[0] * (MAX_FEEDERS - len(names))], start=1):
                self._words[place] = name
        self._words[0] = (self._words[0] | 1) + 1

    def read(self) -> tuple[int, frozenset[int]] | None:
        """A version, and the names. None: the supervisor works on the table."""
        version = self._words[0]
        names = frozenset(self._words[1:].tolist()) - {0}
        return None if version & 1 or version != self._words[0] else (version, names)

    def is_still(self, version: int) -> bool:
        """Whether nothing has begun since that version was read."""
        return self._words[0] == version
