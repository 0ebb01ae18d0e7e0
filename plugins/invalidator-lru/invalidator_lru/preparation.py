"""The supervisor's tables: made before anybody feeds them, and looked after while their workers come and go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from invalidator_lru.draft import Draft, Plan
from invalidator_lru.records import feeder_name, retract_dead, set_feeders
from invalidator_lru.recovery import remake
from invalidator_lru.roster import Roster
from invalidator_lru.table import Table, TableError, file_identity, name_hash, open_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Tables:
    """The tables that this process, the supervisor, has prepared, by their paths."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._plans: dict[str, Plan] = {}
        self._rosters: dict[str, Roster] = {}

    def apply(self, plans: Mapping[str, Plan]) -> None:
        """Make these the tables that are fed. Raises TableError, and has changed none of them if one cannot be made."""
        for path in plans:
            self._rosters.setdefault(path, Roster())
        for roster in self._rosters.values():
            roster.begin()
        try:
            self._change(plans)
        except TableError:
            for roster in self._rosters.values():
                roster.end()
            raise
        for path, roster in self._rosters.items():
            roster.end({name_hash(feeder) for feeder in plans[path].feeders} if path in plans else ())

    def retract(self, worker: str) -> None:
        """Take back what the last process of this worker vouched for."""
        for path, plan in self._plans.items():
            tables = self._seen(path)
            for feeder in plan.feeders:
                if feeder.startswith(feeder_name(worker)):
                    for table in tables:
                        retract_dead(table, feeder)

    def remaker(self, path: str) -> Callable[[], bool] | None:
        """For a worker, which has inherited this: makes the table again (see `recovery`). None: it is not ours."""
        return partial(remake, self._plans[path], self._rosters[path]) if path in self._plans else None

    def _change(self, plans: Mapping[str, Plan]) -> None:
        drafts: dict[str, Draft] = {}
        try:
            for path, plan in plans.items():
                drafts[path] = Draft(plan)
        except TableError:
            for draft in drafts.values():
                draft.discard()
            raise
        for path in self._plans.keys() - plans.keys():
            for table in self._seen(path):
                set_feeders(table, ())
            del self._tables[path]
        for path, draft in drafts.items():
            # The first time, whoever fed it belonged to a daemon that is gone, and what that one missed is unknown.
            self._tables[path] = draft.commit(fresh=path not in self._tables)
        self._plans = dict(plans)

    def _seen(self, path: str) -> tuple[Table, ...]:
        """The table as it was last seen, and the one that a worker has made instead of it, if one has."""
        last = self._tables[path]
        if file_identity(self._plans[path].path) in (None, last.identity):
            return (last,)
        try:
            self._tables[path] = open_table(self._plans[path].path, writable=True)
        except TableError:
            return (last,)
        return last, self._tables[path]


def prepare(plan: Plan, *, fresh: bool = True) -> Table:
    """Draft a table and commit it. Raises TableError."""
    return Draft(plan).commit(fresh=fresh)
