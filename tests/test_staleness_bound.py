"""How long something may be stale after a fault, as the README's formula says; and how a fleet's flushes are spread."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.pipeline.dispatcher import FLUSH_SPREAD
from invalidator.stage import proxy as faults
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

LONGEST_BACKOFF = 0.2
FLUSHING = 0.5
"""Seconds for making a connection on this machine, for a flush of a few keys, and for being one of several here."""
SETTINGS = [(0.1, 0.4), (0.4, 1.2)]
"""Heartbeats: interval and deadline, seconds."""


def bound(deadline: float) -> float:
    """The README's formula, where the network has healed at once and the backend is well."""
    return deadline + max(LONGEST_BACKOFF, FLUSH_SPREAD) + FLUSHING


def topology(url: str, replica: RedisServer, heartbeat: tuple[float, float], workers: int = 1) -> dict[str, Any]:
    interval, deadline = (f"{seconds * 1000:.0f}ms" for seconds in heartbeat)
    backoff = {"first": "10ms", "longest": f"{LONGEST_BACKOFF * 1000:.0f}ms"}
    return {
        "redis": {"url": url, "heartbeat": {"interval": interval, "deadline": deadline}, "backoff": backoff},
        "backends": {"replica": {"type": "redis", "url": replica.url}},
        "workers": [
            {"name": f"w{n}", "pattern": f"cache:w{n}:*", "backends": ["replica"], "flush": {"prefix": f"w{n}:"}}
            for n in range(workers)
        ],
    }


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def client(server: RedisServer, clients: ExitStack) -> redis.Redis:
    opened = redis.Redis(host="127.0.0.1", port=server.port)
    clients.callback(opened.close)
    return opened


def stale_for(
    heartbeat: tuple[float, float], redis_server: MakeRedis, daemon: MakeDaemon, clients: ExitStack, patience: float
) -> float:
    """Seconds from the last byte on a path that is then dead, until what was published into it is gone."""
    source, replica = redis_server(), redis_server()
    cache = client(replica, clients)
    with faults.opened(("127.0.0.1", source.port)) as path:
        run = daemon(topology(f"redis://{path.address}/0", replica, heartbeat))
        cache.set("w0:1", "old")
        path.strand()  # nobody is told, and whoever connects anew is well served: the network has healed at once
        began = time.monotonic()
        client(source, clients).publish("cache:w0:x", "w0:1")
        try:
            wait_until(lambda: not cache.exists("w0:1"), patience)
        finally:
            run.stop()
    return time.monotonic() - began


@pytest.mark.parametrize("heartbeat", SETTINGS)
def test_what_was_missed_is_gone_within_the_bound(
    heartbeat: tuple[float, float], redis_server: MakeRedis, daemon: MakeDaemon, clients: ExitStack
) -> None:
    longest = bound(heartbeat[1])
    seconds = stale_for(heartbeat, redis_server, daemon, clients, patience=longest + 5)
    print(f"heartbeat {heartbeat}: stale for {seconds:.2f} s, at most {longest:.2f} s")
    assert seconds <= longest


def test_without_a_heartbeat_it_would_not_be(redis_server: MakeRedis, daemon: MakeDaemon, clients: ExitStack) -> None:
    # The control for the test above: a path that is dead in silence is found by nothing else.
    with pytest.raises(AssertionError, match="not so after"):
        stale_for((20.0, 60.0), redis_server, daemon, clients, patience=bound(SETTINGS[0][1]))


FLEET = 8
AT_ONCE = 0.25
"""Seconds, on a machine that does other things as well. Were they spread, one of eight would nearly always be later."""
SHORTEST_SPREAD = 0.2
"""Seconds from the first to the last: that all eight fall into less by chance happens once in ten thousand times."""


def waited(run: Daemon, backend: str, cause: str) -> list[float]:
    """Seconds from each worker's subscription to its flush for this cause, as the workers have said themselves."""
    subscribed: dict[str, float] = {}
    seconds = []
    for line in (json.loads(line) for line in run.logs().splitlines() if line.startswith("{")):
        at = datetime.fromisoformat(line["time"]).timestamp()
        if line["event"] == "redis.subscribed":
            subscribed[line["worker"]] = at
        elif {"event": "flush.done", "backend": backend, "cause": cause}.items() <= line.items():
            seconds.append(at - subscribed[line["worker"]])
    assert len(seconds) == FLEET, run.logs()
    return sorted(seconds)


def test_the_flushes_of_a_fleet_are_spread_over_a_second_but_for_memory_and_for_its_own_start(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    source, replica = redis_server(), redis_server()
    wanted = topology(source.url, replica, (0.1, 0.4), workers=FLEET)
    wanted["backends"]["near"] = {"type": "lru", "path": str(tmp_path / "shop.gen")}
    for worker in wanted["workers"]:
        worker["backends"] = ["replica", "near"]
    run = daemon(wanted)
    source.kill()
    source.start()
    for backend in ("replica", "near"):
        run.wait_metric("invalidator_flushes_total", FLEET, cause="disconnect", backend=backend)

    told = {(place, why): waited(run, place, why) for place in ("replica", "near") for why in ("start", "disconnect")}
    print(
        "seconds from the subscription to the flush:",
        {names: f"{at[0]:.2f} to {at[-1]:.2f}" for names, at in told.items()},
    )
    first, *_, last = told.pop(("replica", "disconnect"))
    assert last <= FLUSH_SPREAD + FLUSHING
    assert last - first >= SHORTEST_SPREAD
    assert all(at[-1] <= AT_ONCE for at in told.values()), told
