"""What was heard by Pub/Sub and read from the journal: the same message twice, or one that came on one way alone. Pure.

A message that says where it stands in the journal is heard at once and read a moment later, or the other way round. It
is believed only when both agree, in every word: who says the id of another entry must lose nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Literal

from invalidator.journal.entry import ZERO, EntryId, parse_id

if TYPE_CHECKING:
    from invalidator.messages import Invalidation

MOST_HEARD = 20_000
"""Messages that wait for their entry to be read. Each is kept as a whole: it may turn out to have none."""
CROWD = MOST_HEARD // 2
"""Messages from which on the journal is read first: what else is there to hear waits in its bytes, and none is lost."""
MOST_READ = 100_000
"""Entries that wait to be heard, and as many that have waited too long."""

Verdict = Literal["new", "read", "known", "unjournaled"]


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that was dispatched under this number when it was heard, at this monotonic second."""

    number: int
    at: float
    invalidation: Invalidation


class Hearing:
    """One worker's. Takes `now` in monotonic seconds."""

    def __init__(self, most_heard: int = MOST_HEARD, most_read: int = MOST_READ) -> None:
        self._most_heard = most_heard
        self._most_read = most_read
        self._heard: dict[EntryId, Heard] = {}
        self._unheard: dict[EntryId, tuple[float, int]] = {}
        self._missed: dict[EntryId, int] = {}
        self._farthest = ZERO
        self._forgotten = ZERO
        self._met: tuple[EntryId, float] = ZERO, float("-inf")
        self._overdue = 0

    def __len__(self) -> int:
        """How many messages were heard whose entry was not read yet."""
        return len(self._heard)

    @property
    def is_crowded(self) -> bool:
        """Whether so many have been heard that their entries should be read before more is."""
        return len(self._heard) >= min(CROWD, self._most_heard)

    def is_overtaken(self, since: float) -> bool:
        """Whether much more has been read than was heard so far, which was as late as this second."""
        last, when = self._met
        return when >= since and len(self._unheard) > CROWD and next(iter(self._unheard)) > last

    def hear(self, invalidation: Invalidation, number: int, now: float) -> Verdict:
        """A message has been heard: is it new, and to be read as well; or is it in no journal?

        Or it was read before; or it is known, from having been heard before, or from being given up as missed.
        """
        at = parse_id(invalidation.journal)
        if at is None:
            return "unjournaled"
        if at in self._unheard and self._unheard[at][1] == _content(invalidation):
            del self._unheard[at]
            self._met = at, now
            return "read"
        if at in self._missed and self._missed[at] == _content(invalidation):
            del self._missed[at]
            self._met = at, now
            return "known"
        if at in self._heard:
            return "known" if self._heard[at].invalidation == invalidation else "unjournaled"
        self._heard[at] = Heard(number, now, invalidation)
        return "new"

    def reached(self, at: EntryId) -> None:
        """The journal has been read up to here, if only by a predecessor."""
        self._farthest = max(self._farthest, at)

    def read(self, at: EntryId, invalidation: Invalidation, now: float) -> int:
        """An entry has been read. Returns the number under which it was dispatched when it was heard, or 0."""
        # What is read for the second time, after a break, nobody can hear any more; and what was forgotten was heard.
        may_be_heard = at > self._farthest and at > self._forgotten
        self.reached(at)
        heard = self._heard.get(at)
        if heard and heard.invalidation == invalidation:
            del self._heard[at]
            self._met = at, heard.at
            return heard.number
        if may_be_heard:
            self._unheard[at] = now, _content(invalidation)
            if len(self._unheard) > self._most_read:
                self._give_up(next(iter(self._unheard)))
        return 0

    def absent(self, asked: float) -> list[Heard]:
        """Those heard before this second. When the journal, asked then, had been read to its end, it has none of them.

        A true one is added to it before it is published.
        """
        self._forgotten = ZERO
        found = [at for at, heard in self._heard.items() if heard.at < asked]
        return [self._heard.pop(at) for at in found]

    def overflow(self) -> list[Heard]:
        """Those for which there is no room any more, the oldest: when their entry is read, they are purged again."""
        excess = list(islice(self._heard, max(0, len(self._heard) - self._most_heard)))
        self._forgotten = max((self._forgotten, *excess))
        return [self._heard.pop(at) for at in excess]

    def overdue(self, since: float) -> int:
        """How many entries that were read before this second have not been heard, beyond those told before.

        While messages come, one behind the last is not missed yet: under a burst, hearing may take many seconds longer.
        """
        last, when = self._met
        for at in [at for at, _ in takewhile(lambda item: item[1][0] < since, self._unheard.items())]:
            if when >= since and at > last:
                break  # they are in their order, and so are all that follow
            self._give_up(at)
        overdue, self._overdue = self._overdue, 0
        return overdue

    def unheard(self) -> int:
        """How many entries have been read and not been heard, and are not overdue. They are forgotten."""
        count = len(self._unheard)
        self._unheard.clear()
        return count

    def _give_up(self, at: EntryId) -> None:
        # Missed, as far as we know; but it may be late, and is no reason then to purge for the second time.
        self._missed[at] = self._unheard.pop(at)[1]
        self._overdue += 1
        if len(self._missed) > self._most_read:
            del self._missed[next(iter(self._missed))]


def _content(invalidation: Invalidation) -> int:
    # Two messages of which this is the same purge the same. The rest may be anything, if a plugin has decoded it.
    return hash((invalidation.targets, invalidation.soft, invalidation.ts))
