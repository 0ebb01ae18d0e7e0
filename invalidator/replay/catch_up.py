"""A lane that is behind is given everything from its own place in the journal on, it alone, and as it has room."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from invalidator.journal.entry import ZERO
from invalidator.journal.position import Position
from invalidator.journal.reading import Chunk, judge

if TYPE_CHECKING:
    from invalidator.journal.stream import Sight, Stream
    from invalidator.replay.breaks import Breaks
    from invalidator.replay.excerpt import Excerpt
    from invalidator.replay.reader import Reader
    from invalidator.replay.readership import Readership
    from invalidator.replay.tail import Tail

LOOK_SECONDS = 0.05
"""How often a lane that is behind is looked at for room."""


class CatchUp:
    """Reads no farther than the worker itself has, so that a lane that arrives there has missed nothing."""

    def __init__(
        self,
        stream: Stream,
        excerpt: Excerpt,
        tail: Tail,
        readership: Readership,
        breaks: Breaks,
    ) -> None:
        self._stream = stream
        self._excerpt = excerpt
        self._tail = tail
        self._readership = readership
        self._breaks = breaks
        self._now = 0.0

    def next_due(self) -> float:
        """The second at which to turn; infinite while nobody is behind, or answers are awaited."""
        dues = [reader.due for reader in self._readership.stragglers if not reader.asking]
        return max(min(dues), self._stream.due) if dues else float("inf")

    def seconds_behind(self, reader: Reader) -> float:
        """By the ids of entries, so by the clock of Redis. From the beginning on, nobody knows: 0.0."""
        if self._tail.position is None or reader.behind is None or reader.behind.at == ZERO:
            return 0.0
        return max(0.0, (self._tail.position.at.ms - reader.behind.at.ms) / 1000)

    def turn(self, now: float) -> None:
        """Read on for those that have room."""
        self._now = now
        for reader in self._readership.stragglers:
            if reader.asking or now < reader.due or self._tail.position is None or reader.behind is None:
                continue
            reader.due = now + LOOK_SECONDS
            if self._has_arrived(reader):
                reader.catch_up(self._readership.number())
            elif reader.lane.room() > reader.lane.policy.limit // 2:
                reader.asking = self._stream.look(reader.behind, partial(self._answered, reader, reader.behind))

    def _has_arrived(self, reader: Reader) -> bool:
        tail = self._tail.position
        return tail is not None and reader.behind is not None and reader.behind.at >= tail.at

    def _answered(self, reader: Reader, asked_from: Position, sight: Sight | None) -> None:
        reader.asking = False
        if sight is None:
            return
        self._breaks.answered_by(sight.server)
        if reader.behind != asked_from or self._tail.position is None:
            return  # meanwhile it was told to start over
        found = judge(asked_from, sight.look, sight.count, reader.excused)
        if isinstance(found, Chunk):
            reader.forgiven = False  # its place has held: whatever is lost from now on, nothing has made up for
            self._give(reader, found, sight.asked)
        else:
            reader.excused = sight.look.deleted
            self._breaks.of_lane(found, reader)
        reader.due = self._now

    def _give(self, reader: Reader, chunk: Chunk, asked: float) -> None:
        tail = self._tail.position
        if tail is None or reader.behind is None:
            return
        entries = list(takewhile(lambda entry: entry.id <= tail.at, chunk.entries))
        passage = list(self._excerpt.of(entries, again=True))
        number = self._readership.number()
        taken = reader.offer([invalidation for _, invalidation in passage], self._now, number, alone=True)
        if taken < len(passage):
            entries = [entry for entry in entries if entry.id < passage[taken][0]]
        reader.behind = Position(entries[-1].id) if entries else reader.behind
        if taken == len(passage) and chunk.ends and asked > self._tail.moved:
            reader.behind = tail  # whose entry may be gone by now: there is nothing between the two
        reader.reached(reader.behind)
        if self._has_arrived(reader):
            reader.catch_up(number)
