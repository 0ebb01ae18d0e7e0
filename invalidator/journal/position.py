"""Where somebody stands in the Stream: what comes before is done with, what comes behind it is yet to come. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from invalidator.journal.entry import ZERO, EntryId


@dataclass(frozen=True, slots=True)
class Position:
    """On the entry `at`, which has to be there still: if it is gone, so may be some that came after it.

    Where the Stream held no entry there is none to stand on. Then `added` has how many it had been given until then,
    and those that it has been given since have to be there. At the beginning without that number, nothing is known of
    what was there before, and nothing is expected.
    """

    at: EntryId
    added: int | None = None

    @property
    def stands_on_entry(self) -> bool:
        """Whether the entry itself has to be there."""
        return self.added is None and self.at != ZERO


OLDEST = Position(ZERO)
"""Before the oldest entry that is there, whichever that is."""
NOTHING_YET = Position(ZERO, added=0)
"""There is no Stream: the first entry that it will be given is the first to be read."""
