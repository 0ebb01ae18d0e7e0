"""Delivered exactly: the fast lane is Pub/Sub, the truth is the journal.

What is heard is dispatched at once. The worker reads the Stream behind it, and dispatches what was not heard; nothing
but what it has read there moves its place. A lane that cannot keep up, or has been away, has a place of its own, and is
given everything from there on, as it has room, while the others go on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from invalidator.journal.entry import parse_id
from invalidator.messages import Gap
from invalidator.replay.breaks import Breaks
from invalidator.replay.catch_up import CatchUp
from invalidator.replay.hearing import Heard, Hearing
from invalidator.replay.readership import Readership
from invalidator.replay.tail import SOON, Tail
from invalidator.replay.unjournaled import Unjournaled
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from invalidator.channel import LaneReport
    from invalidator.journal.cursors import Cursors
    from invalidator.journal.entry import EntryId
    from invalidator.journal.position import Position
    from invalidator.journal.reading import Chunk
    from invalidator.journal.stream import Stream
    from invalidator.logs import Logger
    from invalidator.messages import Invalidation
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.replay.book import Book
    from invalidator.replay.excerpt import Excerpt
    from invalidator.slots import WorkerSlots
    from invalidator.topology.models import Heartbeat

_LOOK_SECONDS = 0.25
LAST_WRITE = 0.2
"""Seconds that the last write of the cursors may take in any case."""
_UNKEPT = "state_dir cannot keep how far it is, and a restart would read from an older place on; mend the disk"


@dataclass(frozen=True, slots=True)
class Journal:
    """Where to read, what of it is ours, where it is written down how far we are, and how far we were.

    The backends of `changed` were then set up otherwise: whatever they are now may never have been purged. For those of
    `heard` a predecessor goes on: see Inheritance.
    """

    stream: Stream
    excerpt: Excerpt
    book: Book
    kept: Cursors | None
    changed: frozenset[str] = frozenset()
    heard: frozenset[str] = frozenset()


class Journaled:
    """See Delivery."""

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        is_repeat: Callable[[Invalidation, float], bool],
        slots: WorkerSlots,
        heartbeat: Heartbeat,
        log: Logger,
        *,
        flush_on_start: bool,
    ) -> None:
        self._stream = journal.stream
        self._excerpt = journal.excerpt
        self._book = journal.book
        self._is_repeat = is_repeat
        self._slots = slots
        self._deadline = heartbeat.deadline
        self._log = log
        self._flush_on_start = flush_on_start
        self._readership = Readership(dispatcher, journal.kept.lanes if journal.kept else {}, journal.heard)
        self._hearing = Hearing()
        if journal.kept:
            self._book.go_on_from(journal.kept.server, journal.kept.unjournaled)
        self._breaks = Breaks(self._readership, slots, self._book, log, has_place=journal.kept is not None)
        self._tail = Tail(journal.stream, heartbeat.interval, self._breaks, self._read)
        self._catch_up = CatchUp(journal.stream, journal.excerpt, self._tail, self._readership, self._breaks)
        self._doubt: Gap | None = None
        self._doubtful: EntryId | None = None  # where the journal ended at the first look after that Gap
        self._unjournaled = Unjournaled(slots, journal.book)
        self._began: tuple[EntryId, float] | None = None  # behind which entry reading began, and when
        self._now = 0.0
        self._begin(journal.changed)

    @property
    def trouble(self) -> tuple[str, str]:
        """See Delivery."""
        if self._stream.trouble[0]:
            return self._stream.trouble
        return ("cursors", f"{_UNKEPT}: {self._book.trouble}") if self._book.trouble else ("", "")

    def heard(self, invalidations: Sequence[Invalidation], now: float) -> None:
        """See Delivery."""
        number = self._readership.number()
        new, other = self._sorted(invalidations, number, now)
        self._unjournaled.count(len(other))
        if self._tail.position is None:
            # Nobody can say yet from where it would be read again: for now, it must not be refused.
            other += [replace(invalidation, journal="") for invalidation in new]
        else:
            self._readership.tell_followers(new, now, number, self._tail.position)
            if self._stream.since is not None:
                self._readership.tell_stragglers(new, now, number)
        self._readership.tell(other, now, number)
        if new:
            self._tail.hurry(now + SOON)
        # Only while the journal cannot be read, or before it was: else `is_crowded` has come first.
        for heard in self._hearing.overflow():
            if self._stream.since is None:
                self._tell_who_was_left_out(heard)

    def _sorted(
        self, invalidations: Sequence[Invalidation], number: int, now: float
    ) -> tuple[list[Invalidation], list[Invalidation]]:
        """Those that are new and will be read in the journal, and those that will not. What was heard before is out."""
        new: list[Invalidation] = []
        other: list[Invalidation] = []
        # The loop's turn began at `now`, and they may have been published since: after a look that was asked then.
        heard = clock()
        for invalidation in invalidations:
            match self._hearing.hear(invalidation, number, heard):
                case "new":
                    # Its entry is heard, and need be given to nobody: what it repeats has been given to all.
                    if not self._is_repeat(invalidation, now):
                        new.append(invalidation)
                case "read":
                    pass  # it was dispatched when it was read
                case "known":
                    self._slots.add("ignored:duplicate")
                case "unjournaled":
                    plain = replace(invalidation, journal="") if invalidation.journal else invalidation
                    if not self._is_repeat(plain, now):
                        other.append(plain)
        return new, other

    def gap(self, gap: Gap, now: float) -> None:
        """See Delivery."""
        self._doubt, self._doubtful = gap, None
        self._tail.hurry()
        if gap.cause == "start":
            for reader in self._readership:
                if reader.is_memory:
                    reader.must_flush("start")
            self._start(gap, now)
            return
        self._stream.renew()
        self._breaks.gap()
        if why := self._why_replay_is_not_enough(gap):
            self._log.warning("gap.flushed", cause=gap.cause, why=why)
            self._readership.flush(list(self._readership), gap, now)

    def take_over(self, gap: Gap, now: float, heard: Collection[str]) -> None:
        """See Delivery. What the predecessor was yet to read, we read: nobody vouches for memory until then."""
        self._doubt, self._doubtful = gap, None
        self._tail.hurry()
        self._start(gap, now, heard)

    def make_up_for(self, undone: Collection[str], now: float) -> None:
        """See Delivery. What stands in the journal is read from our own place on, whatever became of it there."""
        if self._unjournaled.were_heard_lately():
            named = [reader for reader in self._readership if reader.lane.policy.backend in undone]
            self._readership.flush(named, Gap("start", now, now), now)

    def turn(self, now: float) -> Sequence[Gap]:
        """See Delivery."""
        self._now = self._breaks.now = now
        self._stream.turn(now)
        self._readership.send_back()
        self._tail.turn(now)
        self._catch_up.turn(now)
        self._stop_waiting(now)
        if missed := self._hearing.overdue(now - self._deadline):
            self._slots.add("missed", missed)
            self._slots.add("received", missed)  # those that are heard after all have been counted there
        if self._breaks.is_readable and self._tail.position:
            self._book.turn(self._readership.readers, now)
        self._slots.flushes_after(self._unjournaled.is_known_after())
        self._stream.hand_over()
        return self._breaks.found()

    def is_crowded(self) -> bool:
        """See Delivery."""
        return self._hearing.is_crowded and self._tail.position is not None and self._stream.since is None

    def next_due(self, now: float) -> float:
        """See Delivery."""
        # While the journal cannot be read, what is promised ends by time alone.
        look = float("inf") if self._stream.since is None else now + _LOOK_SECONDS
        return max(0.0, min(self._tail.next_due(), self._catch_up.next_due(), self._book.due, look) - now)

    def proven_until(self, until: float, now: float) -> float:
        """See Delivery."""
        since = self._stream.since
        return 0.0 if since is not None and now - since > self._deadline else until

    def current_until(self, until: float) -> float:
        """See Delivery."""
        waits = self._doubt is not None or any(reader.lane.backend.inline for reader in self._readership.stragglers)
        return 0.0 if waits else until

    def is_settled(self) -> bool:
        """See Delivery."""
        return self._breaks.is_readable and self._book.is_kept

    def describe(self, lanes: Iterable[LaneReport]) -> Iterable[LaneReport]:
        """See Delivery."""
        behind = {reader.lane.name: self._catch_up.seconds_behind(reader) for reader in self._readership.stragglers}
        for report in lanes:
            seconds = behind.get(f"{report.backend} {report.node}".strip())
            yield report if seconds is None else structs.replace(report, behind=seconds)

    def stop(self, deadline: float) -> None:
        """See Delivery."""
        deadline = max(deadline, clock() + LAST_WRITE)  # a backend that hangs may have taken all of the time
        if self._tail.position and not self._book.close(self._readership.readers, deadline):
            self._log.error("cursors.cut_off", error=self._book.trouble or "the disk was too slow")
        self._slots.add("received", self._hearing.unheard())
        self._stream.close()

    def _begin(self, changed: Collection[str]) -> None:
        """Where the lane that was farthest is, the worker goes on; the others catch up with it."""
        for cause, line in [(reader.owes, self._readership.line_from(reader)) for reader in self._readership]:
            for reader in line if cause else ():
                reader.must_flush(cause)  # it may have flushed before its time, and was to do so after this one
        for reader in self._readership:
            is_new = reader.cursor is None or reader.lane.policy.backend in changed
            if reader.starts_anew or (self._flush_on_start and is_new):
                reader.must_flush("start")
        places = [reader.behind for reader in self._readership if reader.behind]
        if places:
            self._tail.position = max(places, key=lambda place: place.at)
            self._hearing.reached(self._tail.position.at)
            for reader in self._readership.stragglers:
                if reader.behind == self._tail.position:
                    reader.catch_up(0)

    def _start(self, gap: Gap, now: float, heard: Collection[str] = ()) -> None:
        if self._flush_on_start and self._unjournaled.were_heard_lately():
            for reader in self._readership:
                if reader.lane.policy.backend not in heard:
                    reader.must_flush("start")
        for cause in {reader.owes for reader in self._readership if reader.owes}:
            owing = [reader for reader in self._readership if reader.owes == cause]
            self._readership.flush(owing, replace(gap, cause=cause), now)

    def _why_replay_is_not_enough(self, gap: Gap) -> str:
        if self._tail.position is None:
            return "nothing of the journal has been read yet"
        if gap.cause == "role":
            return "another server may hold another journal"
        return (
            "messages that stand in no journal were heard within the last hour"
            if self._unjournaled.were_heard_lately()
            else ""
        )

    def _stop_waiting(self, now: float) -> None:
        """Who cannot replay has to flush: a repair that comes when the journal can be read again may come too late."""
        gap = self._doubt
        if gap is None or self._stream.since is None or now - max(gap.ended, self._stream.since) <= self._deadline:
            return
        self._doubt = None
        if gap.cause != "start" or self._flush_on_start:
            self._log.warning("gap.flushed", cause=gap.cause, why=self._stream.trouble[1])
            self._readership.flush(list(self._readership), gap, now)

    def _read(self, chunk: Chunk, before: Position, asked: float) -> float:
        self._began = self._began or (before.at, asked)
        self._breaks.read_on()
        self._hearing.reached(before.at)
        for reader in self._readership.followers:
            reader.begin(before)
        passage = list(self._excerpt.of(chunk.entries, again=False))
        numbers = {at: self._hearing.read(at, invalidation, self._now) for at, invalidation in passage}
        heard = {at: number for at, number in numbers.items() if number}
        if passage and self._readership.hand_out(passage, heard, self._now, before):
            self._slots.last_message(time.time())
            for reason in [reason for at, one in passage if at not in heard for reason in one.rejected]:
                self._slots.add(f"rejected:{reason}")
        for reader in self._readership.followers:
            reader.reached(chunk.position)
        if self._doubt and asked >= self._doubt.ended and self._has_read_what_was_doubtful(chunk):
            self._doubt = None
        if chunk.ends:
            self._read_to_the_end(asked)
        if len(self._hearing):
            self._tail.hurry(self._now + SOON)
        # What will be heard anyway need not be read before; hearing takes the loop's time, too.
        return SOON if self._hearing.is_overtaken(self._now - self._deadline) else 0.0

    def _has_read_what_was_doubtful(self, chunk: Chunk) -> bool:
        # Not up to the end as it is by now: under a load that is read no faster than it is published, that is never
        # reached, and memory would serve nothing for as long.
        self._doubtful = self._doubtful or chunk.last
        return chunk.ends or (self._doubtful is not None and chunk.position.at >= self._doubtful)

    def _read_to_the_end(self, asked: float) -> None:
        absent = self._hearing.absent(asked)
        self._unjournaled.count(sum(not self._had_an_entry(heard) for heard in absent))
        for heard in absent:
            self._tell_who_was_left_out(heard)

    def _had_an_entry(self, heard: Heard) -> bool:
        """Perhaps: one that went with a break, or that stood before the place where reading began.

        We subscribe before we know that place, and what is heard then may have been read by a predecessor, or by
        nobody. Counted, it would have all Gaps of an hour flushed. But whoever says an old id for ever is counted.
        """
        if heard.at <= self._breaks.last:
            return True
        at = parse_id(heard.invalidation.journal)
        if self._began is None or at is None:
            return False
        place, asked = self._began
        return at <= place and heard.at <= asked + self._deadline

    def _tell_who_was_left_out(self, heard: Heard) -> None:
        number = self._readership.number()
        for reader in self._readership:
            if not reader.took(heard.number):
                reader.offer([replace(heard.invalidation, journal="")], self._now, number)
