"""What a new topology changes: which workers stay as they are, and which do not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.topology.gaps import gap_policy

if TYPE_CHECKING:
    from invalidator.topology.load import Loaded
    from invalidator.topology.models import Topology, WorkerSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """Workers by name, in the order of the new topology."""

    keep: tuple[str, ...]
    replace: tuple[str, ...]
    start: tuple[str, ...]
    stop: tuple[str, ...]


def plan(old: Loaded, new: Loaded) -> Plan:
    """What to do so that `new` runs instead of `old`. A worker is kept if nothing that it reads has changed."""
    before = {spec.name: spec for spec in old.topology.workers}
    after = {spec.name: spec for spec in new.topology.workers}
    common = [name for name in after if name in before]
    kept = [name for name in common if _sees(old, before[name]) == _sees(new, after[name])]
    return Plan(
        keep=tuple(kept),
        replace=tuple(name for name in common if name not in kept),
        start=tuple(name for name in after if name not in before),
        stop=tuple(name for name in before if name not in after),
    )


def heard_on(old: Topology, before: WorkerSpec, new: Topology, after: WorkerSpec) -> frozenset[str]:
    """The backends of a worker for which its former self hears and purges all that its new self would.

    For those nothing is missed while the one takes over from the other. A backend that is new, or means another server,
    or another flush, has had nothing of what was published before.
    """
    redis = old.redis_of(before)
    if (before.pattern, before.delivery, redis) != (after.pattern, after.delivery, new.redis_of(after)):
        return frozenset()
    lanes = {lane.backend: lane for lane in before.backends}
    return frozenset(
        lane.backend
        for lane in after.backends
        if lanes.get(lane.backend) == lane
        and old.backends[lane.backend] == new.backends[lane.backend]
        and gap_policy(old, before, lane) == gap_policy(new, after, lane)
    )


def _sees(loaded: Loaded, spec: WorkerSpec) -> tuple[object, ...]:
    topology = loaded.topology
    backends = [topology.backends[lane.backend] for lane in spec.backends]
    return (
        spec,
        topology.redis_of(spec),
        backends,
        topology.plugins,
        loaded.plugins.files(),  # hooks see every worker's batches, and a process goes on with those that it began with
        topology.supervisor.state_dir,
        topology.supervisor.stop_timeout,
    )
