"""Puts a worker's delivery together: the plain one, or all that it takes to read a journal."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, NamedTuple

from invalidator.journal.cursors import CursorFile
from invalidator.journal.glob import Glob
from invalidator.journal.keeper import Keeper
from invalidator.journal.stream import Stream
from invalidator.pipeline.delivery import PubSub
from invalidator.replay.book import Book, letters_first
from invalidator.replay.exact import Journal, Journaled
from invalidator.replay.excerpt import Excerpt
from invalidator.wire.sideline import sideline_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.logs import Logger
    from invalidator.pipeline.delivery import Delivery
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.pipeline.intake import Intake
    from invalidator.slots import WorkerSlots
    from invalidator.topology.models import LaneSpec, Topology, WorkerSpec


class Before(NamedTuple):
    """Whether another process was this worker before, and the backends for which it goes on, as in Part."""

    is_restart: bool
    heard: frozenset[str]


def make_delivery(
    topology: Topology,
    spec: WorkerSpec,
    intake: Intake,
    dispatcher: Dispatcher,
    slots: WorkerSlots,
    wake: Callable[[], None],
    log: Logger,
    before: Before,
) -> Delivery:
    """What the worker's `delivery` says. Reads the worker's cursors from the disk."""
    # The setting spares a cache at a deploy; it says nothing of what was missed since a crash.
    flush_on_start = spec.flush_on_start or before.is_restart
    if spec.delivery == "pubsub":
        return PubSub(dispatcher, flush_on_start=flush_on_start)
    settings, name = topology.redis_of(spec), topology.journal.stream
    setups = {lane.backend: _setup(topology, lane) for lane in spec.backends}
    file = CursorFile(topology.supervisor.state_dir, spec.name, log)
    kept = file.read(name, spec.pattern)
    # A connection of its own: a chunk of the journal would keep a heartbeat waiting.
    sideline = sideline_to(settings, spec.name, wake, key=name)
    journal = Journal(
        stream=Stream(name, sideline, settings.backoff, log, random.random),
        excerpt=Excerpt(Glob(spec.pattern), intake),
        book=Book(Keeper(letters_first(dispatcher.lanes, file.write), wake, log), name, spec.pattern, setups),
        kept=kept,
        changed=frozenset(name for name, word in setups.items() if kept and kept.setups.get(name, word) != word),
        heard=before.heard,
    )
    if kept is None and not file.is_lost and not flush_on_start:
        said = "the first start, or state_dir was lost: what was missed since is not known; flush_on_start is false"
        log.warning("cursors.none", file=str(file.path), detail=said, then="nothing is flushed")
    flush_on_start = flush_on_start or file.is_lost  # and nothing of what a worker has missed whose cursors are spoilt
    return Journaled(
        journal, dispatcher, intake.is_repeat, slots, settings.heartbeat, log, flush_on_start=flush_on_start
    )


def _setup(topology: Topology, lane: LaneSpec) -> str:
    """A word for what this backend is: another one for another server, for other names of keys, after a rehearsal."""
    shown = topology.backends[lane.backend].model_dump(mode="json")
    return hashlib.sha256(json.dumps([shown, lane.dry_run], sort_keys=True).encode()).hexdigest()[:16]
