"""How far a backend is: positions in the Stream, each reached once what was asked for until then is answered. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.journal.position import Position

MOST = 1_024
"""Beyond that some are left out, evenly: the cursor then moves in longer steps, and is as true as before."""


class Marks:
    """The positions that a lane has been given the entries of, each with the number of the last offer by then.

    `cursor` is the last of them that it has done with: a successor goes on from there.
    """

    def __init__(self, cursor: Position | None = None) -> None:
        self.cursor = cursor
        self._waiting: deque[tuple[int, Position]] = deque()
        self._step = 1

    def __len__(self) -> int:
        """How many positions are yet to be answered for."""
        return len(self._waiting)

    def add(self, number: int, position: Position) -> None:
        """With this offer the lane has been given everything up to this position."""
        if not self._waiting and position == self.cursor:
            return  # it has done with that already, and nothing was read since
        self._append(number, position)
        if len(self._waiting) > MOST:
            crowd, self._waiting = self._waiting, deque()
            self._step = 2 * (crowd[-1][0] - crowd[0][0]) // MOST + 1
            for mark in crowd:
                self._append(*mark)

    def settle(self, number: int) -> bool:
        """Every offer up to this one has come to its end. Whether the cursor has moved."""
        before = self.cursor
        while self._waiting and self._waiting[0][0] <= number:
            self.cursor = self._waiting.popleft()[1]
        if not self._waiting:
            self._step = 1
        return self.cursor != before

    def restart(self, cursor: Position) -> None:
        """What was known of the Stream holds no more: stand here."""
        self._waiting.clear()
        self.cursor = cursor

    def _append(self, number: int, position: Position) -> None:
        # With the same number nothing was offered in between: whoever has done the one has done the other.
        same = self._waiting and self._waiting[-1][0] == number
        if same or (len(self._waiting) > 1 and self._waiting[-1][0] - self._waiting[-2][0] < self._step):
            self._waiting.pop()
        self._waiting.append((number, position))
