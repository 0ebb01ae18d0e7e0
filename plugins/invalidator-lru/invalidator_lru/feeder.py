"""A feeder: one worker's hand on a table. It writes invalidations, and vouches that none is missing."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from invalidator_lru.table import (
    CHANGES,
    EPOCH,
    HEARTBEAT,
    LIVENESS,
    NAME,
    OWNER,
    PROOF,
    UNTIL,
    Table,
    TableError,
    file_identity,
    name_hash,
    open_table,
    stamps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PERIOD = 100_000_000
"""How often, in ns, a proof is renewed: often enough that a late loop does not look like a dead one."""


class Feeder:
    """Writes to the table at `path` as `name`. For one thread at a time.

    The table is made by the supervisor (see `preparation`), which also says who feeds it; a feeder without a record in
    it may invalidate, but has nothing to vouch for.
    """

    def __init__(
        self, path: str | os.PathLike[str], name: str, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._path = path
        self._name = name
        self._hash = name_hash(name)
        self._clock = clock
        self._record: int | None = None
        self._vouched = False
        self._beat = 0
        self._until = 0
        self._table: Table | None = None
        with suppress(TableError):  # `invalidate` says so: a worker starts, and is degraded, rather than not starting
            self._table = open_table(path, writable=True)

    def invalidate(
        self,
        *,
        keys: Iterable[str] = (),
        tags: Iterable[str] = (),
        prefixes: Iterable[str] = (),
        everything: bool = False,
    ) -> None:
        """When this returns, no reader serves any of these from memory any more. Raises TableError without a table."""
        table = self._opened()
        words, key_slot, stamp = table.words, table.key_slot, stamps.next()
        for key in keys:
            words[key_slot(key)] = stamp
        for tag in tags:
            words[table.tag_slot(tag)] = stamp
        for prefix in prefixes:
            words[table.prefix_slot(prefix)] = stamp
        if everything:
            words[EPOCH] = stamp
        words[CHANGES] = stamp  # last: who sees it sees the others

    def prove(self, until: float) -> None:
        """Vouch that nothing is missing until this second of CLOCK_MONOTONIC; one that has passed takes it back.

        To be called all the time, as every call is cheap: a proof lasts for at most LIVENESS, however late `until` is.
        """
        now = self._clock()
        end = now + LIVENESS if until * 1e9 > now + LIVENESS else int(until * 1e9)
        if end <= now:
            self.retract()
        elif now - self._beat >= PERIOD or not now < self._until <= end:
            self._vouch(now, end)

    def retract(self) -> None:
        """Vouch for nothing any more; readers notice at their next lookup."""
        self._beat = self._until = 0
        record = self._found()
        if self._table is None or record is None or not self._vouched:
            return
        words = self._table.words
        if words[record + OWNER] == os.getpid() and words[record + UNTIL]:
            words[record + UNTIL] = words[record + HEARTBEAT] = 0
            announce(self._table)

    def close(self) -> None:
        """Retract, and let go of the table. May be called again."""
        self.retract()
        self._table = self._record = None

    def _vouch(self, now: int, end: int) -> None:
        self._follow()
        record = self._found()
        if self._table is None or record is None or self._is_superseded(record):
            return
        words = self._table.words
        news = not now < words[record + UNTIL] <= end
        words[record + OWNER] = os.getpid()
        words[record + HEARTBEAT] = now
        words[record + UNTIL] = end
        if news:
            announce(self._table)
        self._vouched = True
        self._beat, self._until = now, end

    def _is_superseded(self, record: int) -> bool:
        """Whether a later process of the same worker vouches by now: what this one hears is no longer what counts."""
        return self._vouched and self._table is not None and self._table.words[record + OWNER] not in (0, os.getpid())

    def _follow(self) -> None:
        """Move to the table that is at the path now, if it is another one: it was removed and made again under us."""
        identity = file_identity(self._path)
        if identity is None or (self._table is not None and identity == self._table.identity):
            return
        try:
            table = open_table(self._path, writable=True)
        except TableError:
            return  # rubbish; those who have mapped the old table still read the truth
        self.retract()  # first: no reader may trust the old table once we write to the new one
        self._adopt(table)

    def _adopt(self, table: Table) -> None:
        self._table, self._record, self._vouched = table, None, False
        table.words[EPOCH] = table.words[CHANGES] = stamps.next()  # what this one has missed is unknown

    def _found(self) -> int | None:
        """This feeder's record. Looked up again when the supervisor has given it to somebody else."""
        if self._table is None:
            return None
        if self._record is None or self._table.words[self._record + NAME] != self._hash:
            self._record = self._table.record_of(self._name)
        return self._record

    def _opened(self) -> Table:
        if self._table is None:
            table = open_table(self._path, writable=True)
            self._adopt(table)
            return table
        return self._table


def feeder_name(worker: str, backend: str = "") -> str:
    """Under which name a worker feeds. Each of its backends counts: one may owe work that another has done."""
    return f"{worker}\0{backend}"


def announce(table: Table) -> None:
    """Have every reader look at the records again."""
    table.words[PROOF] = table.words[CHANGES] = stamps.next()
