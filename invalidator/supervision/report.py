"""The status of a daemon, put together from what its fleet knows. Pure but for the two clocks, which are arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invalidator.channel import LaneReport
from invalidator.screen.text import moment
from invalidator.screen.words import ORDINARY_WAIT, failure, has_failed, is_well, put_off
from invalidator.status import Failure, Handover, Lane, Reload, Status, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.slots import Snapshot
    from invalidator.status import DaemonState
    from invalidator.supervision.child import Child
    from invalidator.supervision.fleet import Fleet
    from invalidator.topology.models import LaneSpec

SILENCE = 2.5
"""Seconds without a sign of life that are worth a word: a loop that turns gives one a second."""
PATIENCE = 2 * ORDINARY_WAIT
"""Seconds for which a backend may have what waits for it be put off."""


@dataclass(slots=True)
class Daemon:
    """What is to be said of the daemon as a whole."""

    version: str
    host: str
    pid: int
    started: float
    reload: Reload
    was_ready: bool = False
    stopping: bool = False
    redacted: Callable[[str], str] = field(default=str)


def report(daemon: Daemon, fleet: Fleet, now: float, wall: float) -> Status:
    """Everything, at this monotonic and this wall second."""
    workers = tuple(_worker(child, now, wall, daemon.redacted) for child in fleet.workers.values())
    troubles = tuple(trouble for worker in workers for trouble in troubles_of(worker, wall))
    state: DaemonState = "degraded" if troubles else "running"
    if not daemon.was_ready and not all(map(is_well, workers)):
        state = "starting"
    if daemon.stopping:
        state = "stopping"
    return Status(
        version=daemon.version,
        host=daemon.host,
        pid=daemon.pid,
        file=str(fleet.loaded.topology.file),
        now=wall,
        started=daemon.started,
        state=state,
        troubles=troubles,
        reload=daemon.reload,
        workers=workers,
        errors=fleet.errors.latest(),
    )


def troubles_of(worker: Worker, now: float) -> Iterator[str]:
    """A sentence for each reason for which this worker makes the daemon a degraded one. `now` is in wall seconds."""
    if worker.state != "RUNNING":
        again = "" if worker.next_try is None else f", next try in {worker.next_try:.1f} s"
        yield f"{worker.name} is {worker.state}{_because(worker.trouble)}{again}"
    elif not worker.subscribed:
        since = f" since {moment(worker.trouble.at, now)}" if worker.trouble else ""
        yield f"{worker.name} is not subscribed{since}{_because(worker.trouble)}"
    if worker.handover and worker.handover.trouble:
        next_try = worker.handover.next_try
        again = "" if next_try is None else f", next try in {next_try:.1f} s"
        yield f"{worker.name}: its successor has not become ready{_because(worker.handover.trouble)}{again}"
    lost: dict[str, int] = {}
    for lane in worker.lanes:
        name = f"{worker.name} → {lane.backend} {lane.node}".rstrip()
        if lane.breaker != "closed":
            since = moment(lane.breaker_since, now)
            yield f"{name}: breaker {lane.breaker} since {since}{_because(lane.last_failure)}{_put_off(lane)}"
        elif _put_off(lane):
            why = lane.last_failure if has_failed(lane) else None
            yield f"{name}: put off{_because(why)}{_put_off(lane)}"
        lost[lane.backend] = lane.ends.get("lost", 0)
    for backend, count in lost.items():
        if count:
            yield f"{worker.name} → {backend}: {count} invalidations are lost; see its log, and flush it by hand"


def _put_off(lane: Lane) -> str:
    """When it is asked again, if its server wants that to be later than a lane would by itself."""
    return f", {put_off(lane)}" if (lane.next_try or 0.0) > PATIENCE else ""


def _because(failed: Failure | None) -> str:
    return f" ({failure(failed)})" if failed else ""


def _worker(child: Child, now: float, wall: float, redacted: Callable[[str], str]) -> Worker:
    words = child.words()
    topology = child.topology
    said = child.current.contact.account.subscription if child.current else None
    subscribed = child.is_subscribed(now)
    waits = child.state == "BACKOFF"
    return Worker(
        name=child.spec.name,
        pattern=child.spec.pattern,
        delivery=child.spec.delivery,
        state=child.state,
        redis=redacted(str(topology.redis_of(child.spec).url)),
        pid=child.pid,
        uptime=child.uptime(now),
        paused=child.orders.paused,
        subscribed=subscribed,
        subscribed_since=said.at if said and said.live and subscribed else 0.0,
        heartbeat=said.heartbeat if said and subscribed else "",
        heartbeat_detail=said.heartbeat_detail if said and subscribed else "",
        unheard=child.current.contact.account.unheard if child.current else "",
        last_message=words.worker["last_message_ns"] / 1e9,
        trouble=child.deaths.last if waits else _trouble(child, now, wall),
        next_try=max(0.0, child.deaths.due - now) if waits else None,
        handover=_handover(child, now),
        restarts={reason: count for reason, count in child.deaths.restarts.items() if count},
        gaps=_counted(words.worker, "gap:"),
        gap_seconds=words.worker["gap_ns"] / 1e9,
        received=words.worker["received"],
        rejected=_counted(words.worker, "rejected:"),
        rate=child.history.rate(),
        rates=child.history.rates(),
        lanes=tuple(_lanes(child, words, wall)),
    )


def _trouble(child: Child, now: float, wall: float) -> Failure | None:
    """Why it is not subscribed, or what it cannot do though it is: its own words, or that it says nothing any more."""
    one = child.current
    if one is None:
        return None
    if one.is_subscribed(now):
        return one.contact.account.hindrance()
    if said := one.contact.account.trouble():
        return said
    silent = one.silent_for(now)
    if one.state != "RUNNING" or silent < SILENCE:
        return None
    return Failure(at=wall - silent, reason="silent", detail=f"its process has not turned its loop for {silent:.1f} s")


def _handover(child: Child, now: float) -> Handover | None:
    if child.leaving:
        return Handover(state="draining", reason="", pid=child.leaving.pid)
    wanted, successor = child.handover, child.successor
    if wanted is None or child.current is None:
        return None
    if successor:
        said = successor.contact.account.hindrance() or wanted.trouble
        return Handover(state="starting", reason=wanted.reason, pid=successor.pid, trouble=said)
    if wanted.due > now:
        return Handover(state="backoff", reason=wanted.reason, trouble=wanted.trouble, next_try=wanted.due - now)
    return Handover(state="waiting", reason=wanted.reason, trouble=wanted.trouble)


def _lanes(child: Child, words: Snapshot, wall: float) -> Iterator[Lane]:
    reports = child.current.contact.account.lanes if child.current else {}
    for spec in child.spec.backends:
        told = [lane for (backend, _), lane in reports.items() if backend == spec.backend]
        for one in told or [LaneReport(backend=spec.backend)]:
            yield _lane(child, spec, one, words, wall, alone=len(told) < 2)


def _lane(child: Child, spec: LaneSpec, said: LaneReport, words: Snapshot, wall: float, *, alone: bool) -> Lane:
    name = spec.backend
    counts = words.backends[name]
    backend = child.topology.backends[name]
    failed = Failure(at=said.failed_at, reason=said.reason, detail=said.detail) if said.failed_at else None
    return Lane(
        backend=name,
        type=backend.type,
        node=said.node,
        pending=counts["pending"],
        pending_here=counts["pending"] if alone else said.pending,
        received=counts["received"],
        ends={end: counts[end] for end in ("coalesced", "purged", "flushed", "dead", "skipped", "lost")},
        flushes=_counted(counts, "flush:"),
        attempts_failed=_counted(counts, "failed:"),
        rate=child.history.purge_rate(name),
        purge=child.history.latency(name, "purge", words),
        propagation=child.history.latency(name, "propagation", words),
        last_purge=counts["last_purge_ns"] / 1e9 if alone else said.purged_at,
        last_failure=failed,
        breaker=said.breaker,
        breaker_since=said.breaker_since,
        flush_owed=said.flush_owed,
        behind=said.behind,
        next_try=said.next_try - wall if said.next_try > wall else None,
        dead_letters=said.dead_letters,
        dry_run=spec.dry_run or backend.dry_run,
    )


def _counted(words: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in words.items() if count and name.startswith(prefix)}
