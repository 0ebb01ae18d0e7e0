"""A reader's eye on the table: whether it can be trusted at this moment, and which file it is by now."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from invalidator_lru.table import CHANGES, PROOF, Table, TableError, file_identity, open_table

if TYPE_CHECKING:
    from collections.abc import Callable

Generations = tuple[tuple[int, int], ...]
"""Pairs of a word's index and its value, EPOCH first."""

LOOK_AGAIN = 100_000_000
"""ns between two looks at a table that nobody vouches for, or that is not there."""


class View:
    """What was seen of a table at one moment. Replaced, never changed."""

    __slots__ = ("changes", "proof", "table", "until", "words")

    def __init__(self, table: Table, changes: int, proof: int, until: int) -> None:
        self.table = table
        self.words = table.words  # one step less on each hit
        self.changes = changes
        self.proof = proof
        self.until = until  # ns; 0: nobody vouches

    def generations(self, key: str, tags: tuple[str, ...]) -> Generations:
        """What the table says now of everything that would invalidate `key` with these tags."""
        words = self.words
        return tuple((slot, words[slot]) for slot in self.table.slots_of(key, tags))

    def holds(self, generations: Generations) -> bool:
        """Whether the table still says so. False for another table's: EPOCH is the first, and no two have the same."""
        words = self.words
        for slot, generation in generations:  # noqa: SIM110 -- a generator costs more than what it iterates over
            if words[slot] != generation:
                return False
        return True


class Watch:
    """Follows the table at `path` through its files: a daemon may come, go, and put another one there."""

    __slots__ = ("_clock", "_lock", "_next_look", "_path", "view")

    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], int]) -> None:
        self._path = os.fspath(path)
        self._clock = clock
        self._lock = threading.RLock()
        self._next_look: int | None = None
        self.view: View | None = None

    def proven(self) -> View | None:
        """The table as it is now, if every feeder vouches for it. Never raises.

        Its `changes` were read before anything that is then compared under this view, so whatever is written later
        makes it an old one.
        """
        view = self.view
        now = self._clock()
        if view is not None:
            changes = view.words[CHANGES]
            if view.words[PROOF] != view.proof:
                return self._look(now)
            if now < view.until:
                if changes != view.changes:
                    view = self.view = View(view.table, changes, view.proof, view.until)
                return view
        if self._next_look is not None and now < self._next_look:
            return None
        return self._look(now)

    def after_fork(self) -> None:
        """In the child: a thread that held the lock does not exist here."""
        self._lock = threading.RLock()

    def _look(self, now: int) -> View | None:
        """Read the feeders' records; if one does not vouch, see whether there is another table at the path by now."""
        with self._lock:
            table = self.view.table if self.view is not None else None
            view = self._seen(table)
            if view is None or not view.until:
                view = self._seen(self._reopened(table))
            self.view = view
            proven = view is not None and view.until > 0
            self._next_look = None if proven else now + LOOK_AGAIN
            return view if proven else None

    def _seen(self, table: Table | None) -> View | None:
        if table is None:
            return None
        # In this order: what is written while the records are read shows as a change at the next lookup.
        changes, proof = table.words[CHANGES], table.words[PROOF]
        return View(table, changes, proof, table.proven_until(self._clock))

    def _reopened(self, table: Table | None) -> Table | None:
        """The table at the path if it is another one than `table`, else `table`."""
        identity = file_identity(self._path)
        if identity is None or (table is not None and identity == table.identity):
            return table
        try:
            return open_table(self._path)
        except TableError:
            return table
