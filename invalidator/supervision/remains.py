"""What becomes of the targets that a process leaves pending when it ends. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from invalidator.topology.gaps import gap_policy

if TYPE_CHECKING:
    from collections.abc import Collection

    from invalidator.slots import End, Snapshot
    from invalidator.topology.models import Topology, WorkerSpec


class Remains(NamedTuple):
    """The ends of those that stand in a journal that the worker reads, and of all others."""

    journaled: End
    alone: End


LOST = Remains("lost", "lost")


def remains(topology: Topology, spec: WorkerSpec, last: Snapshot, heard: Collection[str] = ()) -> dict[str, Remains]:
    """By backend. `last` is what the process last counted; for those of `heard` another one has heard the same."""
    ends = {}
    for lane in spec.backends:
        repair: End = "flushed" if gap_policy(topology, spec, lane) else "lost"
        if lane.backend in heard:
            ends[lane.backend] = Remains("coalesced", "coalesced")
        elif spec.delivery == "journal":  # what stands there is read again; the next one flushes only if it knows why
            ends[lane.backend] = Remains("coalesced", repair if last.worker["flushes_after"] else "lost")
        else:
            ends[lane.backend] = Remains(repair, repair)
    return ends
