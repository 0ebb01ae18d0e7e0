"""One lane as a reader of the journal: it follows its worker, or is behind and has an own place in the Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator.journal.cursors import Cursor, cursor_at
from invalidator.journal.entry import ZERO
from invalidator.journal.marks import Marks
from invalidator.journal.position import OLDEST, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.lanes.lane import Lane
    from invalidator.messages import GapCause, Invalidation

_NEVER = float("inf")


class Reader:
    """What a lane has been given, and how far it has come with it.

    `behind` is its own place, from which it is yet to be given everything; None while it follows. `due` is the
    monotonic second before which it makes no sense to read on for it, `asking` whether that is under way. `forgiven`:
    what was lost before its place has been flushed already, and is not told a second time. `excused` as in `judge`.
    """

    def __init__(self, lane: Lane, kept: Cursor | None, *, is_heard: bool = False) -> None:
        """`is_heard`: a predecessor hears and purges for it, so that it goes on even if it is memory."""
        self.lane = lane
        self.starts_anew = self.is_memory and not is_heard
        kept = None if self.starts_anew else kept
        self.behind: Position | None = kept.position if kept else None
        self.due = 0.0
        self.asking = False
        self.forgiven = False
        self.excused = ZERO
        self.offered = 0
        self._marks = Marks(self.behind)
        self._owes: GapCause | Literal[""] = kept.owes if kept else ""
        self._owed = _NEVER
        self._is_changed = True
        self._joined: float = 0
        self._left: float = 0 if self.behind else _NEVER

    @property
    def is_memory(self) -> bool:
        """Whether each start flushes it, but that of a handover: an application may have outlived the last daemon."""
        return self.lane.backend.memory and self.lane.policy.on_gap

    @property
    def owes(self) -> GapCause | Literal[""]:
        """The cause of the flush that its backend has yet to do."""
        return self._owes

    @property
    def place(self) -> Position:
        """Everything up to here is done with."""
        return self._marks.cursor or OLDEST

    @property
    def cursor(self) -> Cursor | None:
        """What a successor has to know; None while there is nothing to go on from."""
        return cursor_at(self._marks.cursor, self._owes) if self._marks.cursor else None

    def took(self, number: float) -> bool:
        """Whether it was given what was dispatched under this number."""
        return self._joined < number < self._left

    def must_flush(self, cause: GapCause | Literal[""]) -> None:
        """Its lane will be asked for its flush. Until then a successor has to know of it."""
        if self.lane.policy.on_gap:
            self._owes = self._owes or cause
            self._is_changed = True

    def offer(self, invalidations: Sequence[Invalidation], now: float, number: int, *, alone: bool = False) -> int:
        """Give it these. Returns how many it took before the first that it refused for want of room."""
        self.offered = number
        return self.lane.offer(invalidations, now, number, alone=alone)

    def flushes(self, cause: GapCause, number: int) -> None:
        """Its lane was asked for its flush, under this number."""
        self.offered = number
        if self.lane.policy.on_gap:
            self._owes, self._owed = cause, number

    def begin(self, position: Position) -> None:
        """If it has no place yet, this is the first. What came before, its flush makes up for, or nobody has to.

        Without it, a backend that is away at the first start would keep the worker from being ready.
        """
        if self._marks.cursor is None:
            self._restart(position)

    def reached(self, position: Position) -> None:
        """With what was offered last, it has been given everything up to here."""
        self._marks.add(self.offered, position)

    def fall_behind(self, position: Position, number: int) -> None:
        """It refused something that was offered under this number: from here on it is to be given everything again."""
        self.begin(position)
        self.behind, self._left = position, number
        self.due = 0.0

    def go_back(self, position: Position, number: int) -> None:
        """It is to be given everything again from here on, and a successor has to know."""
        if self.behind and self.behind.at <= position.at:
            return
        self._left = min(self._left, number)
        self.behind = position
        self._restart(position)
        self.due = 0.0

    def catch_up(self, number: int) -> None:
        """It is where its worker is, and follows from now on: it will be given what gets a higher number than this."""
        self.behind, self._joined, self._left = None, number, _NEVER
        self.forgiven = False

    def start_over(self) -> None:
        """What was known of its place in the Stream holds no more."""
        self._restart(OLDEST)
        if self.behind:
            self.behind = OLDEST
        self.forgiven = False

    def has_done_flush(self) -> bool:
        """Whether a flush that it owed is done, and that has not been looked at yet.

        Also by those that come after it, if they have flushed too early.
        """
        owed, lane = self._owed, self.lane
        return owed < _NEVER and lane.settled_through() >= owed and lane.herald.followed_through() >= owed

    @property
    def is_astir(self) -> bool:
        """Whether a successor may soon have to know something else of it than was seen when it was last settled."""
        return self._is_changed or len(self._marks) > 0 or self._owed < _NEVER

    def settle(self) -> None:
        """Look how far its backend has come."""
        self._is_changed = False
        self._marks.settle(self.lane.kept_through())
        if self.has_done_flush():
            self._owes, self._owed = "", _NEVER

    def _restart(self, position: Position) -> None:
        self._marks.restart(position)
        self._is_changed = True
