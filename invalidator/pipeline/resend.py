"""Dead letters go to their lane once more, as it has room; the file that they stand in goes when all have ended.

Whoever is killed meanwhile loses none of them: the file is still there, and some are purged twice. A letter that dies
again is written to the box before it counts as ended, so that at no moment it stands nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.channel import LONGEST_TEXT, Retried
from invalidator.letters import decode
from invalidator.messages import Invalidation, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from invalidator.lanes.lane import Lane
    from invalidator.logs import Logger
    from invalidator.pipeline.dispatcher import Dispatcher

CHUNK = 128 << 10
"""Bytes that are read in one turn of the worker's loop: a thousand letters."""
_UNASKED = 0
"""The number of an order that nobody gave: those of the supervisor begin at 1."""
_LOOK_SECONDS = 0.1
"""How often the lane is asked whether they have ended."""


@dataclass(slots=True)
class Resend:
    """Of one lane."""

    lane: Lane
    tried: int = 0
    garbage: int = 0
    error: str = ""
    done: bool = False
    _passes: int = 1
    _written: int = 0
    _offset: int = 0
    _lines: int = 0
    _number: int = 0
    _ended: bool = False
    _due: float = 0.0

    def begin(self) -> None:
        """From the first letter on. What was left of the last time comes first, and then what has come since."""
        box = self.lane.dead_letters
        self._passes += box.is_set_aside()
        self._written = box.written
        self._open()

    @property
    def died(self) -> int:
        """How many letters have been written meanwhile."""
        return self.lane.dead_letters.written - self._written

    def turn(self, dispatcher: Dispatcher, now: float) -> None:
        """Do a bit. `now` is in monotonic seconds."""
        if self.done:
            return
        try:
            if not self._ended:
                self._read(dispatcher, now)
            elif now >= self._due:
                self._due = now + _LOOK_SECONDS
                self._look()
        except OSError as error:
            self.error, self.done = f"{error}"[:LONGEST_TEXT], True

    def _open(self) -> None:
        self._offset = self._lines = 0
        self._ended = False
        self._passes -= 1
        try:
            self.done = not self.lane.dead_letters.set_aside()
        except OSError as error:
            self.error, self.done = f"{error}"[:LONGEST_TEXT], True

    def _read(self, dispatcher: Dispatcher, now: float) -> None:
        # Some room remains for what messages ask for: a letter has waited for long.
        limit = self.lane.policy.limit
        room = self.lane.room() - limit // 10
        if room <= 0:
            return
        lines = self._next_lines()[:room]
        self._ended = not lines
        if self._ended:
            return
        letters = [(line, decode(line)) for line in lines]
        if spoilt := [line for line, letter in letters if letter is None and line.strip()]:
            self.lane.dead_letters.keep_apart(spoilt)
        targets = tuple(Target(letter.kind, letter.target) for _, letter in letters if letter)
        if targets:
            self._number = dispatcher.dispatch([Invalidation(targets)], now, only=self.lane)
        # After that, or an error on the way would leave some of them out.
        self.tried += len(targets)
        self.garbage += len(spoilt)
        self._offset += sum(len(line) + 1 for line in lines)
        self._lines += len(lines)

    def _next_lines(self) -> list[bytes]:
        box, size = self.lane.dead_letters, CHUNK
        while True:
            data = box.read(self._offset, size)
            if b"\n" in data or len(data) < size:
                break
            size *= 2
        whole, end, rest = data.rpartition(b"\n")
        if end:
            return whole.split(b"\n")
        return [rest] if rest else []  # a half line at the end: somebody was killed while it was written

    def _look(self) -> None:
        # What comes after it may have to purge them once more: until then, a successor has to begin here again.
        if min(self.lane.settled_through(), self.lane.herald.followed_through()) < self._number:
            return
        if not self.lane.dead_letters.done_with(self._offset, self._lines):
            self._ended = False
        elif self._passes:
            self._open()
        else:
            self.done = True


class Resends:
    """One worker's. An order has a number: one that was done is not done again when it is heard twice."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._done: dict[str, int] = {}
        self._running: dict[str, tuple[int, list[Resend]]] = {}
        self._inherited: set[str] = set()
        self._joined: dict[str, Retried] = {}
        """What had been done for a backend when it was ordered once more, before that was over."""

    def inherit(self, backends: Iterable[str]) -> None:
        """An elder process of this worker could not wait for these: what it had for them is in their boxes.

        Nobody has refused that, and a planned replacement must cost nothing: it is tried again unasked.
        """
        self._inherited.update(backends)

    def inherit_from_disk(self, lanes: Iterable[Lane]) -> None:
        """The same of a process that ended before this one began: what it was stopped in is in their boxes.

        A box is tried again as a whole: what was refused in it is refused once more. To be asked at the start, and not
        of a dry run, which would end them and purge nothing.
        """
        self.inherit(
            lane.policy.backend for lane in lanes if not lane.policy.dry_run and lane.dead_letters.has_unfinished()
        )

    @property
    def is_running(self) -> bool:
        """Whether some are on their way, or are to be: `turn` goes on with them bit by bit."""
        return bool(self._running or self._inherited)

    def turn(self, wanted: Mapping[str, int], dispatcher: Dispatcher, now: float) -> list[Retried]:
        """Go on with what is wanted, backend by backend. Returns those that have come to an end."""
        for backend, number in wanted.items():
            if backend not in self._running and self._done.get(backend, 0) < number:
                self._begin(backend, number, dispatcher)
        if ready := self._inherited.difference(self._running):
            self._inherited -= ready
            for backend in ready.intersection(lane.policy.backend for lane in dispatcher.lanes):
                self._begin(backend, _UNASKED, dispatcher)
        ended = []
        for backend, (number, resends) in list(self._running.items()):
            for resend in resends:
                resend.turn(dispatcher, now)
            if all(resend.done for resend in resends):
                del self._running[backend]
                self._done[backend] = max(number, self._done.get(backend, 0))
                ended.append(self._sum(backend, number, resends))
                if wanted.get(backend, 0) > number:
                    self._joined[backend] = ended[-1]
        return ended

    def _begin(self, backend: str, number: int, dispatcher: Dispatcher) -> None:
        resends = [Resend(lane) for lane in dispatcher.lanes if lane.policy.backend == backend]
        self._running[backend] = (number, resends)
        for resend in resends:
            resend.begin()

    def _sum(self, backend: str, number: int, resends: list[Resend]) -> Retried:
        before = self._joined.pop(backend, None) or Retried(backend=backend, number=number)
        report = Retried(
            backend=backend,
            number=number,
            tried=before.tried + sum(resend.tried for resend in resends),
            died=before.died + sum(resend.died for resend in resends),
            garbage=before.garbage + sum(resend.garbage for resend in resends),
            error=next((resend.error for resend in resends if resend.error), ""),
        )
        say = self._log.error if report.error else self._log.info
        say(
            "deadletter.retried",
            backend=backend,
            tried=report.tried,
            died=report.died,
            garbage=report.garbage,
            error=report.error,
        )
        return report
