"""The worker's own place in the journal: what it has read there, and nothing else, moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.journal.entry import ZERO
from invalidator.journal.position import OLDEST, Position
from invalidator.journal.reading import Chunk, end_of, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.journal.stream import Sight, Stream
    from invalidator.replay.breaks import Breaks

_COLLECTED = 0.25
"""Seconds that an answer may wait for the loop to turn for some other reason, when nothing is expected of it."""
SOON = 0.1
"""Seconds after a message was heard until its entry is looked for: many are then read at once."""


class Tail:
    """Looks again and again: soon after something was heard, at once while there is more, seldom when all is quiet.

    `position` is None until it is known where to begin. `read` is called with each chunk, the place before it and when
    it was asked for, and says for how many seconds there is no need of the next. `breaks` is told when what was to be
    read is not all there. `moved` is when it last went on.
    """

    def __init__(
        self,
        stream: Stream,
        interval: float,
        breaks: Breaks,
        read: Callable[[Chunk, Position, float], float],
    ) -> None:
        self.position: Position | None = None
        self.moved = 0.0
        self._stream = stream
        self._interval = interval
        self._breaks = breaks
        self._read = read
        self._excused = ZERO
        self._asking = self._is_urgent = self._is_hurried = False
        self._due = 0.0
        self._now = 0.0

    def hurry(self, due: float = 0.0) -> None:
        """Look at this second, if not before."""
        self._due = min(self._due, due)
        self._is_hurried = True

    def next_due(self) -> float:
        """The second at which to turn; infinite while an answer is awaited that wakes the loop."""
        if not self._asking:
            return max(self._due + self._slack, self._stream.due)
        return float("inf") if self._is_urgent else self._now + min(_COLLECTED, self._interval / 4)

    @property
    def _slack(self) -> float:
        # When all is quiet, a turn that is made for an echo is as good as one of our own.
        return 0.0 if self._is_hurried else self._interval / 4

    def turn(self, now: float) -> None:
        """Look, if it is time."""
        self._now = now
        if not self._asking and now >= self._due - self._slack:
            self._due = now + self._interval
            # Where nothing was heard there seldom is anything to read, and the echo's turn takes the answer along.
            self._is_urgent, self._is_hurried = self._is_hurried or self.position is None, False
            self._asking = self._stream.look(self.position, self._answered, urgent=self._is_urgent)
            self._is_hurried = self._is_urgent and not self._asking

    def _answered(self, sight: Sight | None) -> None:
        self._asking = False
        if sight is None:
            self.hurry()  # as soon as the Stream may be asked again
            return
        self._breaks.answered_by(sight.server)
        if self.position is None:
            end = end_of(sight.look)
            self._go_to(end)
            self._read(Chunk((), end, ends=True), end, sight.asked)
            return
        before, found = self.position, judge(self.position, sight.look, sight.count, self._excused)
        if isinstance(found, Chunk):
            self._go_to(found.position)
            pause = self._read(found, before, sight.asked)
            if not found.ends:
                self.hurry(self._now + pause)
        else:
            self._excused = sight.look.deleted
            self._go_to(OLDEST)
            self._breaks.of_worker(found, before, self._excused)
            self.hurry()

    def _go_to(self, position: Position) -> None:
        if position != self.position:
            self.position, self.moved = position, self._now
