"""A claim: one feeder's right to vouch in its record of one table, which another daemon may take for its own.

Two daemons that feed one path write to one record, and nothing locks it. So, whatever the order of their writes:

- Each vouches only for what it hears itself, and writes what it hears whether it may vouch or not. A record with words
  of both is therefore no lie. Who takes its word back clears the record, whoever wrote there last: that costs the other
  a tenth of a second of hits; to leave it could serve what nobody vouches for.
- The one that came later vouches, and the earlier one yields for as long as that lasts.
- Who takes the record from another, or finds that it has lost it, does not know what was kept meanwhile, and under
  whose word. It invalidates everything first, and vouches then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator_lru.records import announce
from invalidator_lru.table import CHANGES, EPOCH, HEARTBEAT, LIVENESS, NAME, OWNER, UNTIL, name_hash, stamps

if TYPE_CHECKING:
    from invalidator_lru.table import Table

Outcome = Literal["vouched", "taken over", "yielded", "unlisted"]
"""What came of vouching: as ever; for the first time after another process did; that one does; there is no record."""

_NOTHING = -1  # is in no record


class Claim:
    """Of the feeder `name` on its record in `table`. For one thread at a time."""

    __slots__ = ("_had", "_hash", "_holds", "_left", "_name", "_pid", "_record", "other", "table")

    def __init__(self, table: Table, name: str, pid: int) -> None:
        self.table = table
        self.other = 0  # the pid of the process that was last met in the record; 0: none was
        self._name = name
        self._pid = pid
        self._hash = name_hash(name)
        self._record: int | None = None
        self._holds = False  # the last word in the record is ours, for all we know
        self._had = False  # and it was at some time: whoever has it now came later
        self._left = _NOTHING  # what we have left in the record, to see later whether anybody was there meanwhile

    def vouch(self, now: int, end: int) -> Outcome:
        """Vouch until `end`, if it is for this feeder to do so. Both are ns of CLOCK_MONOTONIC."""
        record = self._found()
        if record is None:
            return self._lost("unlisted")
        words = self.table.words
        owner, until = words[record + OWNER], words[record + UNTIL]
        foreign = owner not in (0, self._pid)
        renewed = self._holds and owner == self._pid
        if foreign:
            self.other = owner
            if self._had and now < until < now + 2 * LIVENESS:
                return self._lost("yielded")
        if not renewed:
            self._take(record, owner)
        words[record + HEARTBEAT] = now
        words[record + UNTIL] = end
        if words[record + NAME] != self._hash:  # given to another feeder since we looked
            words[record + UNTIL] = 0
            return self._lost("unlisted")
        self._holds = self._had = True
        self._left = _NOTHING
        if not (renewed and now < until <= end):
            announce(self.table)
        return "taken over" if foreign else "vouched"

    def retract(self) -> None:
        """Vouch for nothing any more; readers notice at their next lookup."""
        if not self._holds:
            return
        words, record = self.table.words, self._found()
        if record is None:
            self._lost("unlisted")
            return
        mine = words[record + OWNER] == self._pid
        stamp = stamps.next()  # no time that is near: no reader would believe it, with whatever it may come to stand
        words[record + UNTIL] = 0
        words[record + HEARTBEAT] = stamp
        words[record + OWNER] = 0
        self._holds, self._left = False, stamp if mine else _NOTHING
        announce(self.table)

    def _take(self, record: int, owner: int) -> None:
        words = self.table.words
        if owner or (self._had and words[record + HEARTBEAT] != self._left):
            words[EPOCH] = words[CHANGES] = stamps.next()
        words[record + OWNER] = self._pid

    def _lost(self, how: Outcome) -> Outcome:
        self._holds, self._left = False, _NOTHING
        return how

    def _found(self) -> int | None:
        """The record. Looked up again when a supervisor has given it to somebody else."""
        if self._record is None or self.table.words[self._record + NAME] != self._hash:
            self._record = self.table.record_of(self._name)
        return self._record
