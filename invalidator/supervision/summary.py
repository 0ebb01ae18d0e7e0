"""The daemon's status in one line, on which a person can act: what `systemctl status` shows. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.screen.text import moment, plural
from invalidator.screen.words import failure, is_well
from invalidator.supervision.metrics import PLANNED_RESTARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.status import Status, Worker

LONGEST = 480
_NAMED = 3
"""So many troubles are told one by one; beyond that their number says more."""


def summary(status: Status) -> str:
    """Such as `2 of 3 workers running, edge: breaker open since 12:03; users: BACKOFF, died 4 times`. No line break."""
    if status.state == "stopping":
        left = sum(worker.state != "EXITED" for worker in status.workers)
        return _one_line([f"stopping: {plural(left, 'worker')} left"])
    failed = [] if status.reload.ok else [f"reload failed: {status.reload.error}; the former topology stays"]
    troubled = [worker for worker in status.workers if not is_well(worker)]
    head = _head(status, troubled)
    head = ", ".join([head, *_some([*_breakers(status), *_remarks(status)])])
    return _one_line([*failed, head, *_some([_trouble(worker, status.now) for worker in troubled])])


def _head(status: Status, troubled: Sequence[Worker]) -> str:
    total = len(status.workers)
    if not troubled:
        return f"{plural(total, 'worker')} running"
    if len(troubled) == total and all(worker.trouble and worker.trouble.reason == "unreachable" for worker in troubled):
        return "waiting for Redis"
    return f"{total - len(troubled)} of {plural(total, 'worker')} running"


def _trouble(worker: Worker, now: float) -> str:
    because = f" ({failure(worker.trouble)})" if worker.trouble else ""
    if worker.state in ("STARTING", "RUNNING"):
        if worker.subscribed:
            return f"{worker.name}: {worker.state}{because}"
        if worker.trouble:
            return f"{worker.name}: not subscribed since {moment(worker.trouble.at, now)}{because}"
        return f"{worker.name}: {'STARTING' if worker.state == 'STARTING' else 'not subscribed'}"
    if worker.state == "BACKOFF":
        deaths = sum(count for reason, count in worker.restarts.items() if reason not in PLANNED_RESTARTS)
        # A time of day and not "in 8 s": what counts down would be said anew each second.
        again = "" if worker.next_try is None else f", next try at {_clock(now + worker.next_try)}"
        return f"{worker.name}: BACKOFF, died {plural(deaths, 'time')}{because}{again}"
    return f"{worker.name}: {worker.state}{because}"


def _breakers(status: Status) -> Iterator[str]:
    """One for each server that is given a rest, however many workers give it one."""
    lanes = [lane for worker in status.workers for lane in worker.lanes]
    servers: dict[str, set[str]] = {}
    for lane in lanes:
        servers.setdefault(lane.backend, set()).add(lane.node)
    since: dict[str, tuple[str, float]] = {}
    for lane in lanes:
        name = f"{lane.backend} {lane.node}".rstrip() if len(servers[lane.backend]) > 1 else lane.backend
        if lane.breaker != "closed" and (name not in since or lane.breaker_since < since[name][1]):
            since[name] = lane.breaker, lane.breaker_since
    for name, (state, at) in since.items():
        yield f"{name}: breaker {state} since {moment(at, status.now)}"


def _remarks(status: Status) -> Iterator[str]:
    for worker in status.workers:
        if worker.paused:
            yield f"{worker.name}: paused"
        if worker.handover and worker.handover.trouble:
            yield f"{worker.name}: its successor is not ready ({failure(worker.handover.trouble)})"
    lost: dict[str, int] = {}
    for worker in status.workers:
        # The servers of a backend share its counts.
        for backend, count in {lane.backend: lane.ends.get("lost", 0) for lane in worker.lanes}.items():
            lost[backend] = lost.get(backend, 0) + count
    for backend, count in lost.items():
        if count:
            yield f"{backend}: {count} lost"


def _some(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _NAMED
    return [*texts[:_NAMED], *([f"and {more} more"] if more > 0 else [])]


def _clock(wall: float) -> str:
    # Rounded: it is worked out anew from two clocks each time, and must not change to and fro.
    return time.strftime("%H:%M:%S", time.localtime(round(wall)))


def _one_line(parts: Sequence[str]) -> str:
    # In a notification a line break begins another assignment: a text from elsewhere must not bring READY=1 with it.
    line = " ".join("; ".join(parts).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
