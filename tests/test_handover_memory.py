"""Make before break and memory: an application is served through a handover, and only while somebody vouches."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.control.protocol import Restart
from invalidator_lru import LRUCache
from tests.support.control import ask
from tests.support.gated import Gates
from tests.support.waiting import wait_past, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer


@pytest.fixture(params=["pubsub", "journal"])
def delivery(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def topology(gates: Gates, server: RedisServer, table: Path, delivery: str) -> dict[str, Any]:
    wanted = gates.topology(server, "a", stop_timeout="2s")
    wanted["workers"][0]["delivery"] = delivery
    wanted["plugins"].append("lru")
    wanted["backends"]["near"] = {"type": "lru", "path": str(table)}
    wanted["workers"][0]["backends"] = ["near", "gated"]
    return wanted


def restart(run: Daemon) -> None:
    assert ask(run, Restart(workers=("a",))).ok


def test_memory_is_served_through_a_handover_and_not_forgotten(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path, delivery: str
) -> None:
    gates = Gates(tmp_path)
    run = daemon(topology(gates, redis_server(), tmp_path / "near.gen", delivery))
    cache = LRUCache(tmp_path / "near.gen")
    wait_until(lambda: cache.set("users:1", "old"))
    (elder,) = run.pids()
    gates.close("start")
    restart(run)
    wait_until(lambda: len(run.pids()) == 2, why=run.logs)
    assert cache.get("users:1") == "old", "the elder vouches"
    gates.open("start")
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)
    wait_until(cache.is_proven)

    assert cache.get("users:1") == "old", "nothing was missed, so nothing is forgotten"
    wait_past(time.monotonic() + 1.2)  # longer than any word of the elder's could last
    assert cache.get("users:1") == "old", "the elder has not taken its successor's word back"
    assert run.metrics().value("invalidator_gaps_total", cause="start") == 1


def test_a_successor_does_not_vouch_for_what_its_elder_may_not_have_heard(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path, delivery: str
) -> None:
    gates = Gates(tmp_path)
    run = daemon(topology(gates, redis_server(), tmp_path / "near.gen", delivery))
    cache = LRUCache(tmp_path / "near.gen")
    wait_until(lambda: cache.set("users:1", "old"))
    (elder,) = run.pids()
    os.kill(elder, signal.SIGSTOP)
    restart(run)
    run.wait_metric("invalidator_worker_restarts_total", 1, reason="requested")

    wait_until(lambda: not cache.is_proven(), 1.5, "the elder's word does not last for longer than a second")
    assert elder in run.pids(), "and its successor says nothing while it is there"
    wait_until(lambda: elder not in run.pids(), why=run.logs)
    wait_until(cache.is_proven)
    assert cache.get("users:1") is None, "what the elder has not heard is unknown: everything is forgotten"
    assert run.metrics().value("invalidator_gaps_total", cause="start") == 2
