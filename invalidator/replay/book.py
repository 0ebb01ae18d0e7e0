"""The cursors of a worker's lanes, kept: from time to time while it works, at its end, and once before it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.journal.cursors import Cursors, encoded
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from invalidator.journal.keeper import Keeper
    from invalidator.lanes.lane import Lane
    from invalidator.replay.reader import Reader

KEEP_SECONDS = 0.1
"""How often: what a lane does in that time is done once more by a successor after a SIGKILL. A worker that is killed
again and again has to get on in the moments between: with half a second, it began at the same place each time."""
_SHARE = 20
"""To look takes as long as much is pending; it may take a twentieth of the time."""
AGAIN_SECONDS = 5.0
"""How often though nothing has changed: a former process of this worker may have written last, for another pattern."""


def letters_first(lanes: Collection[Lane], write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Writes cursors when the dead letters are on the disk: what a cursor has passed stands nowhere else."""

    def both(data: bytes) -> None:
        for lane in lanes:
            lane.dead_letters.sync()
        write(data)

    return both


class Book:
    """Writes only what has changed. `server`, `unjournaled` and `setups` are as in Cursors."""

    def __init__(self, keeper: Keeper, stream: str, pattern: str, setups: dict[str, str]) -> None:
        self.server = ""
        self.unjournaled = 0.0
        self.due = 0.0
        self._keeper = keeper
        self._stream = stream
        self._pattern = pattern
        self._setups = setups
        self._written = b""
        self._again = self._earliest = 0.0
        self._known_server = ""
        self._mark = 0.0
        self._marking = (0.0, 0)

    @property
    def is_kept(self) -> bool:
        """Whether a successor would find something to go on from."""
        return self._keeper.kept > 0

    @property
    def mark(self) -> float:
        """`unjournaled`, as a successor would find it."""
        value, version = self._marking
        if self._keeper.kept >= version:
            self._mark = value
        return self._mark

    def go_on_from(self, server: str, unjournaled: float) -> None:
        """This is what the file says."""
        self.server, self.unjournaled = server, unjournaled
        self._marking = (unjournaled, 0)

    @property
    def trouble(self) -> str:
        """Why the cursors could not be kept the last time; empty if they could."""
        return self._keeper.trouble

    def turn(self, readers: Sequence[Reader], now: float) -> None:
        """Look how far the lanes are, if it is time. While nothing is read and nothing is owed, it seldom is."""
        if self._is_astir(readers):
            self.due = min(self.due, self._earliest)
        # A flush that is done is written down at once: until then, a successor would do it again.
        if now >= self.due or any(reader.has_done_flush() for reader in readers):
            began = clock()
            if now >= self._again:
                self._again, self._written = now + AGAIN_SECONDS, b""
            self._known_server = self.server
            self.keep(readers)
            self._earliest = now + max(KEEP_SECONDS, _SHARE * (clock() - began))
            self.due = self._earliest if self._is_astir(readers) else self._again

    def keep(self, readers: Sequence[Reader]) -> None:
        """Have it written, if it has changed and is complete: a lane without a cursor would be taken for a new one."""
        lanes = {}
        for reader in readers:
            reader.settle()
            if reader.cursor is None:
                return
            lanes[reader.lane.name] = reader.cursor
        data = encoded(
            Cursors(
                stream=self._stream,
                pattern=self._pattern,
                server=self.server,
                unjournaled=self.unjournaled,
                lanes=lanes,
                setups=self._setups,
            )
        )
        if data != self._written:
            self._written = data
            version = self._keeper.keep(data)
            if self._marking[0] != self.unjournaled:
                self._marking = (self.unjournaled, version)

    def _is_astir(self, readers: Sequence[Reader]) -> bool:
        return self.server != self._known_server or any(reader.is_astir for reader in readers)

    def close(self, readers: Sequence[Reader], deadline: float) -> bool:
        """The lanes have ended. Whether all is kept at this monotonic second."""
        self.keep(readers)
        return self._keeper.close(deadline)
