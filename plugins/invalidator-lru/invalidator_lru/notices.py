"""What a feeder says in the log of a table that it cannot feed as it should: seldom, and with what is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.logs import Occasionally, get_logger

if TYPE_CHECKING:
    from invalidator_lru.claim import Outcome

PATIENCE = 1_000_000_000
"""For how long, in ns, a file may be gone before that is a fault: who replaces one removes it first, perhaps."""
_INTERVAL = 60.0


class Notices:
    """Of one feeder of the table at `path`."""

    def __init__(self, path: str, feeder: str) -> None:
        worker, _, backend = feeder.partition("\0")
        self._log = get_logger("lru").bind(worker=worker, backend=backend, path=path)
        self._seldom = Occasionally(_INTERVAL)
        self._since: dict[str, int] = {}

    def has_lasted(self, kind: str, now: int) -> bool:
        """Whether this has been so at every call since PATIENCE ago, and no `over` came between."""
        return now - self._since.setdefault(kind, now) >= PATIENCE

    def over(self, kind: str) -> None:
        """It is not so any more."""
        self._since.pop(kind, None)

    def vouching(self, outcome: Outcome, other: int, now: int) -> None:
        """What came of an attempt to vouch; `other` is the pid of the process that has the record, or had it."""
        if outcome == "unlisted":
            # A worker that a reload takes away is not listed in its last moments, and that is as it should be.
            if self.has_lasted(outcome, now):
                todo = "another daemon has this path: give each its own, then send this one SIGHUP"
                self._warn("lru.unlisted", now, todo=todo)
            return
        self.over("unlisted")
        if outcome != "vouched":
            vouching = "this one" if outcome == "taken over" else "the other"
            todo = "one daemon feeds a path: stop one of them, or give it another path"
            self._warn("lru.contended", now, other_pid=other, vouching=vouching, todo=todo)

    def unusable(self, error: Exception, now: int) -> None:
        """There is something else at the path."""
        if self.has_lasted("unusable", now):
            self._warn("lru.unusable", now, error=str(error), todo="remove it: the table is then made again")

    def gone(self, error: str, now: int) -> None:
        """The file is gone, and cannot be made again."""
        self._warn("lru.gone", now, error=error, todo="let the daemon write to its folder, or send it SIGHUP")

    def remade(self) -> None:
        """The file was gone, and was made again."""
        self._log.warning("lru.remade", todo="find out who removed it")

    def _warn(self, event: str, now: int, **fields: str | int) -> None:
        held = self._seldom.due(event, now / 1e9)
        if held is not None:
            self._log.warning(event, **fields, held_back=held)
