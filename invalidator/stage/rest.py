"""When the daemon has come to rest, and whether everything that it took in has an end: from its own status. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.screen.words import is_well
from invalidator.slots import ENDS

if TYPE_CHECKING:
    from invalidator.status import Status


def at_rest(status: Status | None) -> object | None:
    """What must stay the same for a while for the daemon to be at rest; None while something is under way or owed.

    A heartbeat's interval and its deadline are such a while: what was published before has come by then, or the
    connection that it should have come by is known to be dead.
    """
    if status is None or not all(map(is_well, status.workers)):
        return None
    lanes = [lane for worker in status.workers for lane in worker.lanes]
    if any(lane.pending or lane.flush_owed or lane.breaker != "closed" for lane in lanes):
        return None
    counts = [(worker.pid, worker.received, worker.gaps, worker.restarts) for worker in status.workers]
    return counts, [(lane.received, lane.ends, lane.flushes) for lane in lanes]


def unaccounted(status: Status) -> dict[tuple[str, str], int]:
    """Targets received that have no end and are not pending, by worker and backend; those without any are left out.

    Less than 0: more ends than targets.
    """
    missing = {
        (worker.name, lane.backend): lane.received - sum(lane.ends.get(end, 0) for end in ENDS) - lane.pending
        for worker in status.workers
        for lane in worker.lanes
    }
    return {where: count for where, count in missing.items() if count}
