"""What the journal can no longer say: each time is told, counted and followed by a flush, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.messages import Gap
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Collection

    from invalidator.journal.entry import EntryId
    from invalidator.journal.position import Position
    from invalidator.logs import Logger
    from invalidator.messages import JournalBreak
    from invalidator.replay.book import Book
    from invalidator.replay.reader import Reader
    from invalidator.replay.readership import Readership
    from invalidator.slots import WorkerSlots


class Breaks:
    """One worker's. `now` is to be set before anything is read; `has_place`: there are positions that may break."""

    def __init__(self, readership: Readership, slots: WorkerSlots, book: Book, log: Logger, *, has_place: bool) -> None:
        self.now = 0.0
        self.last = float("-inf")
        """The second of the last one: what was heard before had an entry, perhaps, and it is gone with the rest."""
        self.is_readable = False
        """Whether the journal has been read once."""
        self._readership = readership
        self._slots = slots
        self._book = book
        self._log = log
        self._has_place = has_place
        self._lost_server = has_place and not book.server
        self._forgiven = False
        self._in_gap = True  # the start
        self._found: list[Gap] = []

    def found(self) -> list[Gap]:
        """Those since this was last asked, each as a Gap whose flush has been asked for."""
        found, self._found = self._found, []
        return found

    def gap(self) -> None:
        """The subscription was interrupted: a server that does not say which one it is may be another one now."""
        self._in_gap = True
        self._lost_server = self._lost_server or not self._book.server

    def answered_by(self, server: str) -> None:
        """The server of this run id has answered; empty: it does not say."""
        if self._has_place and (self._lost_server or server != self._book.server):
            self.last = clock()
            # Its tail may be lost, read by nobody: what it held of that, no entry that is left can tell.
            self._declare("dataset", self._readership.readers, None)
            self._forgiven = True
            for reader in self._readership.stragglers:
                reader.forgiven = True
        if not server and not self.is_readable:
            said = "INFO is refused: after each Gap, and at each start, it may be another dataset and is taken for one"
            self._log.warning("journal.server_unknown", detail=said)
        self._book.server, self._lost_server, self._in_gap = server, False, False
        self._has_place = self.is_readable = True

    def read_on(self) -> None:
        """The worker's own place has held."""
        self._forgiven = False

    def of_worker(self, kind: JournalBreak, place: Position, excused: EntryId) -> None:
        """It has not: all start over from the oldest entry that is there. `excused` as in `judge`."""
        self.last = clock()
        # Those that are behind too: what is gone was behind their places as well, and there is no end to arrive at.
        for reader in self._readership:
            reader.start_over()
            reader.excused = excused
        if not self._forgiven:
            self._declare(kind, self._readership.readers, place)
        self._forgiven = False

    def of_lane(self, kind: JournalBreak, reader: Reader) -> None:
        """The place of a lane that is behind has not held."""
        place, forgiven = reader.behind, reader.forgiven
        reader.start_over()
        if not forgiven:
            # What comes after it did not wait for so long, and was to be purged once more when this one had been.
            self._declare(kind, self._readership.line_from(reader), place)

    def _declare(self, kind: JournalBreak, readers: Collection[Reader], place: Position | None) -> None:
        self._slots.add(f"journal_break:{kind}")
        at = str(place.at) if place else ""
        for then, lanes in (
            ("flush", [reader.lane.name for reader in readers if reader.lane.policy.on_gap]),
            ("ignore: what they have missed stays stale", [r.lane.name for r in readers if not r.lane.policy.on_gap]),
        ):
            if lanes:
                self._log.error("journal.broken", kind=kind, at=at, lanes=", ".join(lanes), then=then)
        gap = Gap("role" if kind == "dataset" else "trimmed", self.now, self.now)
        self._readership.flush(readers, gap, self.now)
        if not (kind == "dataset" and self._in_gap):  # one outage is one Gap, and it has been told of
            self._found.append(gap)
