"""What a lane does on a gap, once the worker's word, the lane's own and the type's default are put together. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from invalidator.topology.models import Flush

if TYPE_CHECKING:
    from invalidator.messages import Kind
    from invalidator.options import BackendOptions
    from invalidator.topology.models import LaneSpec, Topology, WorkerSpec


def on_gap(worker: WorkerSpec, lane: LaneSpec) -> str:
    """`flush` or `ignore`."""
    return lane.on_gap or worker.on_gap


def flush_of(worker: WorkerSpec, lane: LaneSpec, options: BackendOptions) -> Flush | None:
    """What a flush forgets in this lane, whatever asks for it; None when nobody has said."""
    said = lane.flush or worker.flush
    if said is None and (default := options.default_flush()) is not None:
        return _read(msgspec.json.encode(default))
    return said


@lru_cache(maxsize=64)
def _read(default: bytes) -> Flush:
    # Asked for each lane, of a plugin that says the same each time.
    return Flush.model_validate(msgspec.json.decode(default))


def gap_policy(topology: Topology, worker: WorkerSpec, lane: LaneSpec) -> Flush | None:
    """What this lane flushes on a gap; None: it ignores gaps."""
    if on_gap(worker, lane) == "ignore":
        return None
    return flush_of(worker, lane, topology.backends[lane.backend].options)


def asked_of(topology: Topology, backend: str) -> frozenset[Kind]:
    """The kinds of target that may be asked of this backend: by messages, on a gap, or for a kind that it lacks."""
    options = topology.backends[backend].options
    kinds: set[Kind] = set()
    for worker in topology.workers:
        for lane in worker.backends:
            if lane.backend != backend:
                continue
            kinds.update(worker.allow)
            flush = flush_of(worker, lane, options)
            if flush and (on_gap(worker, lane) == "flush" or lane.unsupported == "flush"):
                kinds.add(flush.kind)
    return options.kinds() & kinds
