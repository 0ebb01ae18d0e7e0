"""Statuses as a daemon may be in, for what draws them: well, in trouble, very large, and full of hostile texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from invalidator.status import Event, Failure, Lane, Latency, Reload, Status, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = 1_763_812_384.5
HOUR = 3600.0


def lane(backend: str, **fields: Any) -> Lane:
    """A lane that does well."""
    usual: dict[str, Any] = {
        "type": "http",
        "received": 48_211,
        "ends": {"purged": 48_001, "coalesced": 210, "dead": 0, "lost": 0},
        "rate": 1204.0,
        "purge": Latency(p50=0.0012, p99=0.0091),
        "propagation": Latency(p50=0.0015, p99=0.0102),
        "last_purge": NOW - 0.2,
    }
    return Lane(backend=backend, **(usual | fields))


def worker(name: str, *lanes: Lane, **fields: Any) -> Worker:
    """A worker that does well."""
    usual: dict[str, Any] = {
        "pattern": f"cache:invalidate:{name}:*",
        "state": "RUNNING",
        "redis": "redis://10.0.0.5:6379/0",
        "pid": 4712,
        "uptime": 3.2 * HOUR,
        "subscribed": True,
        "subscribed_since": NOW - 3.2 * HOUR,
        "last_message": NOW - 0.1,
        "gaps": {"start": 1},
        "gap_seconds": 0.02,
        "received": 48_211,
        "rate": 1204.0,
        "rates": tuple(1200 + 260 * math.sin(second / 6) + 90 * math.sin(second * 1.7) for second in range(60)),
    }
    return Worker(name=name, lanes=lanes or (lane("edge"),), **(usual | fields))


def status(*workers: Worker, **fields: Any) -> Status:
    """A daemon that does well, unless the fields say otherwise."""
    usual: dict[str, Any] = {
        "version": "0.1.0",
        "host": "web-3",
        "pid": 4711,
        "file": "/etc/invalidator/shop.yaml",
        "now": NOW,
        "started": NOW - 3.2 * HOUR,
        "state": "running",
        "reload": Reload(ok=True, at=NOW - 1.1 * HOUR),
    }
    return Status(workers=workers or (worker("users"),), **(usual | fields))


def healthy() -> Status:
    """Two workers, all well."""
    near = lane("near", type="lru", purge=Latency(p50=0.0002, p99=0.0011))
    rehearsed = lane("cdn", type="cloudflare", dry_run=True, ends={"skipped": 20_000}, last_purge=0.0)
    quiet = tuple(0.0 if second % 7 else 3.0 for second in range(60))
    return status(
        worker("users", near, lane("objects", type="memcached"), lane("edge")),
        worker("prices", near, rehearsed, rate=0.4, rates=quiet, pid=4713),
    )


def degraded() -> Status:
    """An open breaker, a worker without its Redis, one that does not start, one that is paused, a failed reload."""
    refused = Failure(at=NOW - 3, reason="refused", detail="10.0.0.9:6081: connection refused")
    edge = lane(
        "edge",
        pending=12_312,
        rate=0.0,
        purge=Latency(),
        propagation=Latency(),
        last_failure=refused,
        last_purge=NOW - 190,
        breaker="open",
        breaker_since=NOW - 181,
        attempts_failed={"refused": 41},
    )
    away = Failure(
        at=NOW - 42, reason="disconnect", detail="Error 111 connecting to 10.0.0.5:6379. Connection refused."
    )
    early = Failure(at=NOW - 2, reason="early", detail="exit code 70")
    lost = lane("objects", type="memcached", node="10.0.0.7:11211", ends={"lost": 3, "dead": 12})
    return status(
        worker("users", lane("near", type="lru"), edge, restarts={"crash": 1, "reload": 2}),
        worker("prices", subscribed=False, trouble=away, rate=0.0, gaps={"start": 1, "disconnect": 4}),
        worker(
            "assets", state="BACKOFF", pid=None, uptime=None, subscribed=False, trouble=early, next_try=12.4, rates=()
        ),
        worker("carts", lost, lane("objects", type="memcached", node="10.0.0.8:11211"), paused=True),
        state="degraded",
        troubles=(
            "users → edge: breaker open since 12:50 (refused: 10.0.0.9:6081: connection refused)",
            "prices is not subscribed since 12:52 (disconnect: Connection refused.)",
            "assets is BACKOFF (early: exit code 70), next try in 12.4 s",
            "carts → objects: 3 invalidations are lost; see its log, and flush it by hand",
        ),
        reload=Reload(ok=False, at=NOW - 600, error="/etc/invalidator/shop.yaml:14:5: workers[1].patern: unknown key"),
        errors=(
            Event(at=NOW - 3, worker="users", backend="edge", what="purge failed", detail=refused.detail),
            Event(at=NOW - 42, worker="prices", what="lost its subscription", detail=away.detail),
            Event(at=NOW - 20 * HOUR, worker="assets", what="died before it was ready", detail="exit code 70"),
        ),
    )


def large(workers: int = 200, lanes: int = 8) -> Status:
    """More than anybody looks at."""
    names = [f"worker-{number:03}" for number in range(workers)]
    troubled = Failure(at=NOW, reason="timeout", detail="no answer " * 40)
    return status(
        *(worker(name, *(lane(f"backend-{n}", last_failure=troubled) for n in range(lanes))) for name in names),
        state="degraded",
        troubles=tuple(f"{name} is not well" for name in names),
        errors=tuple(Event(at=NOW, worker=name, what="purge failed", detail="x" * 2000) for name in names),
    )


def saying(texts: Iterable[str]) -> Status:
    """A status with these texts wherever a text of a stranger may stand, each in turn."""
    supply = iter(texts)

    def text() -> str:
        return next(supply)

    def failure() -> Failure:
        return Failure(at=NOW - 1, reason=text(), detail=text())

    broken = lane(text(), type=text(), node=text(), last_failure=failure(), breaker="open", breaker_since=NOW - 5)
    away = worker(
        text(),
        broken,
        lane("plain"),
        pattern=text(),
        redis=text(),
        subscribed=False,
        trouble=failure(),
        gaps={text(): 2},
    )
    waits = worker(text(), state="BACKOFF", trouble=failure(), restarts={text(): 3}, rejected={text(): 4})
    return status(
        away,
        waits,
        version=text(),
        host=text(),
        file=text(),
        state="degraded",
        troubles=(text(), text()),
        reload=Reload(ok=False, at=NOW - 9, error=text()),
        errors=(Event(at=NOW - 2, worker=text(), backend=text(), what=text(), detail=text()),),
    )


def with_rates(rates: tuple[float, ...]) -> Status:
    """One worker with this history."""
    return msgspec.structs.replace(status(), workers=(worker("users", rates=rates),))
