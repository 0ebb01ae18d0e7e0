"""Puts a worker together from its part of the topology. Runs in the worker's process, after the fork."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from invalidator.backend import Backend, BackendContext
from invalidator.errors import PluginError
from invalidator.hookspecs import hookimpl
from invalidator.lanes.deadletter import DeadLetters
from invalidator.lanes.direct import Direct
from invalidator.lanes.following import Follower
from invalidator.lanes.immediate import Immediate
from invalidator.lanes.lane import Lane
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.receipts import Receipts
from invalidator.lanes.subsumption import Subsuming
from invalidator.lanes.tiers import AFTER_LONGEST, AT_ONCE, Order
from invalidator.letters import Box
from invalidator.messages import EVERYTHING, Target
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.pipeline.formats import decoder, decoder_in_bulk
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.inheritance import Inheritance
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.journaling import Before, make_delivery
from invalidator.pipeline.liaison import Liaison
from invalidator.pipeline.publishers import make_publishers
from invalidator.pipeline.resend import Resends
from invalidator.pipeline.tap import Tap
from invalidator.pipeline.worker import Events, Surroundings, Worker
from invalidator.presence import instance_of
from invalidator.signals import Signals, Waker
from invalidator.slots import clock
from invalidator.subscription.subscriber import Subscriber
from invalidator.topology.gaps import asked_of, flush_of, gap_policy
from invalidator.wire.connection import Connector, connect
from invalidator.wire.route import read_url, route_to
from invalidator.wire.sideline import sideline_to

if TYPE_CHECKING:
    from collections.abc import Callable

    import pluggy

    from invalidator.channel import Channel, Orders
    from invalidator.lanes.replies import Answer
    from invalidator.logs import Logger
    from invalidator.messages import Batch, PurgeResult
    from invalidator.slots import BackendSlots, Region
    from invalidator.topology.models import Flush, LaneSpec, Topology, WorkerSpec

HEAD_START = 0.05
"""Seconds that a subscription may take before the rest of its worker is put together. That takes the processor for
longer than connecting does, which would have to wait for it, and a successor is to hear as soon as it can."""


class Line(NamedTuple):
    """A worker's end of the channel to its supervisor, and the orders that it begins with."""

    channel: Channel
    orders: Orders


class Onlookers(NamedTuple):
    """Who is told what the lanes do: the tap, and publishers; `answer_of` gives what a lane of a backend calls."""

    tap: Tap
    answer_of: Callable[[str], Answer]


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker is made from: its part of the topology, the plugins, and the memory that it counts into.

    `is_restart`: another process was this worker before, so that messages were really missed in between; but for the
    backends of `heard`, for which it hears on until this one does (make before break).
    """

    topology: Topology
    spec: WorkerSpec
    plugins: pluggy.PluginManager
    region: Region
    line: Line
    is_restart: bool = False
    heard: frozenset[str] = frozenset()


def foresee(topology: Topology, spec: WorkerSpec) -> None:
    """Work out what every worker will ask for and find worked out. In the supervisor's process, before the fork."""
    instance_of(topology.file, topology.supervisor.state_dir)
    read_url(topology.redis_of(spec))


def assemble(part: Part, lifeline: int, announce: Callable[[], None], log: Logger) -> Worker:
    """A worker that ends when `lifeline` does, and calls `announce` when its state changes."""
    spec, hook = part.spec, part.plugins.hook
    waker = Waker()
    signals = Signals(waker, wanted=[signal.SIGTERM], ignored=[signal.SIGINT, signal.SIGHUP])
    settings = part.topology.redis_of(spec)
    route = route_to(settings)
    connector = Connector(lambda: connect(route, spec.client_name), waker.wake, settings.password_file)
    sideline = sideline_to(settings, spec.name, waker.wake, avoid=lambda: route.at)
    subscriber = Subscriber(settings, spec.pattern, connector, sideline, log, clock())
    subscriber.head_start(clock(), HEAD_START)
    tap = Tap(part.line.channel, spec.name, [_policy(part, lane) for lane in spec.backends])
    slots = part.region.worker()
    resends = Resends(log)
    liaison = Liaison(part.line.channel, tap, part.line.orders, resends)
    publishers = make_publishers(part.topology, spec, sideline, waker.wake, log)
    onlookers = Onlookers(tap, publishers.correspondence.answer_of)
    dispatcher = Dispatcher(make_lanes(part, waker.wake, onlookers, log), log)
    resends.inherit_from_disk(dispatcher.lanes)
    publishers.correspondence.follow(lane.policy.backend for lane in dispatcher.lanes)
    decode = decoder(part.plugins, frozenset(spec.allow), spec.max_payload)
    ignoring = Ignoring(spec.ignore_source)
    declined = publishers.correspondence.declined
    intake = Intake(decode, ignoring, dispatcher.given_up, declined, slots, tap, log)
    if spec.delivery == "pubsub":
        intake.hear_alone(decoder_in_bulk(part.plugins, frozenset(spec.allow), spec.max_payload))
    before = Before(part.is_restart, part.heard)
    delivery = make_delivery(part.topology, spec, intake, dispatcher, slots, waker.wake, log, before)
    return Worker(
        subscriber=subscriber,
        intake=intake,
        delivery=delivery,
        dispatcher=dispatcher,
        slots=slots,
        surroundings=Surroundings(
            signals,
            waker,
            lifeline,
            liaison,
            sideline,
            publishers,
            Inheritance(part.heard),
        ),
        events=Events(
            announce=announce,
            gap=lambda gap: _observe(lambda: hook.on_gap(worker=spec.name, gap=gap), "on_gap", log),
            ready=lambda: _observe(lambda: hook.worker_started(worker=spec.name), "worker_started", log),
        ),
        log=log,
    )


def make_lanes(part: Part, changed: Callable[[], None], onlookers: Onlookers, log: Logger) -> list[Lane]:
    """A lane for each backend of the worker, and for each server of a backend that has several."""
    plugins = part.plugins
    backends = [
        (lane, backend)
        for lane in part.spec.backends
        for backend in make_backends(part.topology, part.spec.name, lane, plugins)
    ]
    purgers = [Purger(backend) for _, backend in backends]
    for purger in purgers:
        plugins.register(purger)
    slots = {lane.backend: part.region.backend(lane.backend) for lane in part.spec.backends}
    return [
        _lane(part, lane, backend, purge_caller(plugins, purger, purgers), slots[lane.backend], changed, onlookers, log)
        for (lane, backend), purger in zip(backends, purgers, strict=True)
    ]


def make_backends(topology: Topology, worker: str, lane: LaneSpec, plugins: pluggy.PluginManager) -> list[Backend]:
    """The backend that the topology names, or one for each of its servers. Raises PluginError if no plugin makes it."""
    spec = topology.backends[lane.backend]
    asked = asked_of(topology, lane.backend)
    context = BackendContext(worker, lane.backend, topology.supervisor.state_dir, asked)
    made = plugins.hook.make_backend(type=spec.type, options=spec.options, context=context)
    # In this order: to ask whether something is a Sequence is to ask every kind of sequence that there is.
    backends = [made] if isinstance(made, Backend) else list(made) if isinstance(made, Sequence) else []
    if not backends or not all(isinstance(backend, Backend) for backend in backends):
        raise PluginError(f"type {spec.type}: make_backend gave {made!r}, not a Backend or a list of them")
    return backends


class Purger:
    """A backend as pluggy sees it: its `purge` implements the hook, and a plugin's wrappers go around it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @hookimpl
    def purge(self, batch: Batch) -> PurgeResult:
        """See hookspecs."""
        return self._backend.purge(batch)


def purge_caller(plugins: pluggy.PluginManager, purger: Purger, purgers: Sequence[Purger]) -> pluggy.HookCaller:
    """The hook `purge` for one of these backends alone, once all are registered."""
    # The plain hook would ask every backend in turn, and stop at the first that raises.
    return plugins.subset_hook_caller("purge", [other for other in purgers if other is not purger])


def _lane(
    part: Part,
    lane: LaneSpec,
    backend: Backend,
    purge: pluggy.HookCaller,
    slots: BackendSlots,
    changed: Callable[[], None],
    onlookers: Onlookers,
    log: Logger,
) -> Lane:
    worker, state_dir = part.spec.name, part.topology.supervisor.state_dir
    log = log.bind(backend=lane.backend, **({"node": backend.node} if backend.node else {}))
    policy = _policy(part, lane)
    parts: dict[str, Any] = {
        "backend": backend,
        "purge": purge,
        "receipts": Receipts(slots, log),
        "dead_letters": DeadLetters(state_dir, Box(worker, lane.backend, backend.node), log),
        "log": log,
        "changed": changed,
        "observe": onlookers.tap.done,
        "answer": onlookers.answer_of(lane.backend),
    }
    if policy.order == AT_ONCE:
        is_followed = any(other.after == lane.backend for other in part.spec.backends)
        if is_direct(backend, purge, policy):
            return Direct(pending=Immediate(policy, random.random, is_followed=is_followed), **parts)
        return Lane(pending=Subsuming(policy, random.random, is_followed=is_followed), **parts)
    make = Follower if policy.order.after else Lane
    return make(pending=Ordered(policy, random.random), **parts)


def is_direct(backend: Backend, purge: pluggy.HookCaller, policy: Policy) -> bool:
    """Whether its batches may be sent by the loop: nobody stands around its `purge`, who would miss those."""
    is_alone = len(purge.get_hookimpls()) == 1
    return is_alone and _has_send(type(backend)) and not backend.inline and not policy.dry_run


def _has_send(kind: type[Backend]) -> bool:
    """A class that has changed `purge` alone stands around it as well: what it has inherited would send past it."""
    latest = next(base for base in kind.__mro__ if not vars(base).keys().isdisjoint({"purge", "send"}))
    return latest is not Backend and "send" in vars(latest)


def _policy(part: Part, lane: LaneSpec) -> Policy:
    spec, options = part.spec, part.topology.backends[lane.backend].options
    flush = flush_of(spec, lane, options)
    return Policy(
        worker=spec.name,
        backend=lane.backend,
        kinds=options.kinds(),
        flush=flush_targets(flush) if flush else (),
        on_gap=gap_policy(part.topology, spec, lane) is not None,
        widen=lane.unsupported == "flush",
        window=spec.window,
        journal=spec.delivery == "journal",
        dry_run=lane.dry_run or part.topology.backends[lane.backend].dry_run,
        order=Order(lane.after or "", lane.delay, lane.rebound, _patience(spec, lane)),
    )


def _patience(spec: WorkerSpec, lane: LaneSpec) -> float:
    """How long a lane waits for the one that it comes after: for what that one waits itself, and a while more."""
    origin = next((other for other in spec.backends if other.backend == lane.after), None)
    return AFTER_LONGEST + spec.window + _patience(spec, origin) + origin.delay if origin else 0.0


def flush_targets(flush: Flush) -> tuple[Target, ...]:
    """What a flush purges."""
    if flush.prefix is not None:
        return (Target("prefix", flush.prefix),)
    return tuple(Target("tag", tag) for tag in flush.tags or ()) or (EVERYTHING,)


def _observe(call: Callable[[], object], hook: str, log: Logger) -> None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # an observer's fault is never the worker's
        log.error("plugin.raised", hook=hook, error=repr(error))
