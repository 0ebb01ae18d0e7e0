"""The daemon's hooks: they declare `type: lru`, make its tables, and take back what a dead worker vouched for."""

from __future__ import annotations

import grp
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator import UnreachableError, hookimpl
from invalidator_lru.backend import LruBackend
from invalidator_lru.draft import Plan
from invalidator_lru.options import LruOptions, feeders, real, tables
from invalidator_lru.preparation import Tables
from invalidator_lru.table import TableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator.backend import Backend, BackendContext
    from invalidator.options import BackendOptions
    from invalidator.topology.models import Topology

_tables = Tables()


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    """The one type that this plugin brings."""
    return {"lru": LruOptions}


@hookimpl
def make_backend(options: BackendOptions, context: BackendContext) -> Backend | None:
    """In a worker's process: its hand on the table that the supervisor has made."""
    if not isinstance(options, LruOptions):
        return None
    return LruBackend(options, context, _tables.remaker(real(options)))


@hookimpl
def topology_applied(topology: Topology) -> None:
    """In the supervisor's process: make or take over the tables, and say who feeds each. Raises UnreachableError."""
    try:
        _tables.apply(plans(topology))
    except TableError as error:
        raise UnreachableError(str(error)) from error


@hookimpl
def worker_stopped(worker: str) -> None:
    """In the supervisor's process: readers need not wait until the last heartbeat of a dead worker is too old."""
    _tables.retract(worker)


def plans(topology: Topology) -> dict[str, Plan]:
    """The tables of a topology, by their real paths. Raises TableError for a group that this host does not have."""
    fed_by = feeders(topology)
    return {
        real(options): Plan(
            Path(real(options)),
            frozenset(fed_by[real(options)]),
            slots=options.slots,
            mode=int(options.mode, 8),
            group=_gid(options.group),
        )
        for options in tables(topology).values()
    }


def _gid(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise TableError(f"group {group!r} does not exist on this host") from error
