"""A handover that stands still before its successor is ready, and what a daemon shows and counts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from invalidator.control.protocol import Restart
from tests.support.control import ask, status
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from invalidator.status import Handover, Worker
    from tests.support.daemon import Daemon
    from tests.support.gated import Gates
    from tests.support.stores import RedisServer

GAPS = "invalidator_gaps_total"
FLUSHES = "invalidator_flushes_total"


def worker(run: Daemon) -> Worker:
    return status(run).workers[0]


def handover(run: Daemon) -> Handover | None:
    return worker(run).handover


def publish(server: RedisServer, *keys: str, channel: str = "cache:a:x") -> None:
    """Whether anybody hears it or not."""
    with redis.Redis.from_url(server.url) as client:
        for key in keys:
            client.publish(channel, key)


def begin_restart(run: Daemon, gates: Gates) -> tuple[int, int]:
    """A restart of `a` that stands still before its successor is ready. The elder's process and its successor's."""
    (elder,) = run.pids()
    gates.close("start")
    assert ask(run, Restart(workers=("a",))).ok
    wait_until(lambda: len(run.pids()) == 2, why=run.logs)
    (successor,) = set(run.pids()) - {elder}
    return elder, successor


def counted(run: Daemon) -> dict[str, float]:
    """What the worker `a` counts of one kind, over all kinds."""
    metrics = run.metrics()
    return {name: metrics.value(f"invalidator_{name}_total", worker="a") for name in ("gaps", "flushes")}
