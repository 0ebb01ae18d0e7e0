"""A feeder: one worker's hand on a table. It writes invalidations, and vouches that none is missing."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from invalidator_lru.claim import Claim
from invalidator_lru.notices import Notices
from invalidator_lru.table import CHANGES, EPOCH, LIVENESS, Table, TableError, file_identity, open_table, stamps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PERIOD = 100_000_000
"""How often, in ns, a proof is renewed: often enough that a late loop does not look like a dead one."""


class Feeder:
    """Writes to the table at `path` as `name`. For one thread at a time.

    The table is made by the supervisor (see `preparation`), which also says who feeds it; a feeder without a record in
    it may invalidate, but has nothing to vouch for. `remake` is called when the file has been gone for a while: it
    makes the table again and returns True, False if that is not for us to do now, or raises TableError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        pid: Callable[[], int] = os.getpid,
        remake: Callable[[], bool] | None = None,
    ) -> None:
        self._path = path
        self._name = name
        self._clock = clock
        self._pid = pid
        self._remake = remake
        self._notices = Notices(os.fspath(path), name)
        self._looked = 0
        self._beat = 0
        self._until = 0
        self._claim: Claim | None = None
        with suppress(TableError):  # `invalidate` says so: a worker starts, and is degraded, rather than not starting
            self._claim = Claim(open_table(path, writable=True), name, pid())

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
        words, stamp = table.words, stamps.next()
        table.write_keys(tuple(keys), stamp)
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
            if now - self._looked >= PERIOD:  # a worker that has no table proves nothing until it has one
                self._follow(now)
        elif now - self._beat >= PERIOD or not now < self._until <= end:
            self._vouch(now, end)

    def retract(self) -> None:
        """Vouch for nothing any more; readers notice at their next lookup."""
        self._beat = self._until = 0
        if self._claim is not None:
            self._claim.retract()

    def close(self) -> None:
        """Retract, and let go of the table. May be called again."""
        self.retract()
        self._claim = None

    def _vouch(self, now: int, end: int) -> None:
        self._follow(now)
        if self._claim is not None:
            outcome = self._claim.vouch(now, end)
            self._notices.vouching(outcome, self._claim.other, now)
            self._beat, self._until = now, end

    def _follow(self, now: int) -> None:
        """Move to the table that is at the path now, if it is another one: it was removed and made again under us."""
        self._looked = now
        identity = file_identity(self._path)
        if identity is None:
            self._miss(now)
            return
        self._notices.over("gone")
        if self._claim is not None and identity == self._claim.table.identity:
            self._notices.over("unusable")
            return
        try:
            table = open_table(self._path, writable=True)
        except TableError as error:
            # Those who have mapped the old table still read the truth; nobody else finds one.
            self._notices.unusable(error, now)
            return
        self.retract()  # first: no reader may trust the old table once we write to the new one
        self._adopt(table)

    def _miss(self, now: int) -> None:
        """The file is gone. Those who have mapped it are still served, and truly; nobody else finds it."""
        if not self._notices.has_lasted("gone", now):
            return
        self._notices.over("gone")  # the next attempt comes after the same time
        try:
            made = self._remake is not None and self._remake()
        except TableError as error:
            self._notices.gone(str(error), now)
            return
        if made:
            self._notices.remade()
        elif self._remake is None:
            self._notices.gone("it is not known here who feeds it", now)

    def _adopt(self, table: Table) -> None:
        self._claim = Claim(table, self._name, self._pid())
        table.words[EPOCH] = table.words[CHANGES] = stamps.next()  # what this one has missed is unknown

    def _opened(self) -> Table:
        if self._claim is None:
            table = open_table(self._path, writable=True)
            self._adopt(table)
            return table
        return self._claim.table
