"""A handover: what a worker is to become, and what came of trying. Its process goes on until the successor is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from invalidator.channel import Orders
    from invalidator.status import Failure
    from invalidator.topology.models import Topology, WorkerSpec

AT_ONCE = 4
"""Handovers at the same time, in the whole daemon: each is a second process, with its memory and its connections."""
READY_WITHIN = 15.0
"""Seconds. A successor that takes longer makes room for others, and is tried again later. Longer than a worker waits
for the flush at its start, and than it takes to find that a connection hangs."""


class Birth(NamedTuple):
    """What a process is made from: see `invalidator.pipeline.assembly.Part`."""

    spec: WorkerSpec
    topology: Topology
    orders: Orders
    is_restart: bool = False
    heard: frozenset[str] = frozenset()


@dataclass(slots=True)
class Handover:
    """What the successor is made from, why there is to be one, and when it is tried next (monotonic seconds)."""

    spec: WorkerSpec
    topology: Topology
    reason: str
    due: float
    failures: int = 0
    trouble: Failure | None = None

    def failed(self, trouble: Failure, due: float) -> None:
        """A successor has not become ready, and the next one is due then."""
        self.failures += 1
        self.trouble = trouble
        self.due = due
