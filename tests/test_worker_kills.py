"""Fifty SIGKILLs of workers under load, and an oracle that looks into every cache for what is stale at the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.demo import truth
from invalidator.demo.oracle import examine
from invalidator.demo.stage import Child, Stage
from invalidator.slots import ENDS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from invalidator.demo.oracle import Finding
    from invalidator.demo.truth import Truth
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.metrics import Metrics
    from tests.support.stores import MemcachedServer

KILLS = 50
RATE = 1_500
"""Changes published in a second, one message each."""
BETWEEN = (225, 600)
"""Messages from one kill to the next: 150 to 400 ms of them, once the victim's successor is ready."""
PRODUCTS = 20_000
HOT = 200
"""Products of which every second change is one; the others change once, so that no later change heals what is stale."""
CHANNEL = "cache:invalidate:shop:products"
LANES = {"memory": ("lru", "redis"), "stores": ("memcached",)}


@dataclass
class Shop:
    """A daemon whose two workers share three real caches, an application that refills them, and what is true."""

    run: Daemon
    stage: Stage
    database: Truth
    source: redis.Redis
    replica: redis.Redis
    memcached: MemcachedServer

    def kill(self, workers: dict[str, int], name: str) -> None:
        """SIGKILL one worker, and wait for its successor; the others must not have noticed."""
        victim = workers.pop(name)
        others = set(workers.values())
        os.kill(victim, signal.SIGKILL)
        (successor,) = wait_until(lambda: set(self.run.pids()) - others - {victim}, 5, self.run.logs)
        assert set(self.run.pids()) == {*others, successor}
        workers[name] = successor
        self.run.wait_ready()

    def under_load(self, messages: int) -> None:
        """Wait until so many more messages were published."""
        goal = self.database.published + messages
        wait_until(lambda: self.database.published >= goal, 30)

    def come_to_rest(self) -> None:
        """Wait until all that was published has been dealt with: a last message has gone the same way to its end."""
        self.memcached.set("the-end", "1")
        self.replica.set("the-end", "1")
        self.source.publish(CHANNEL, "the-end")
        wait_until(lambda: self.memcached.get("the-end") is None, 20, self.run.logs)
        wait_until(lambda: not self.replica.exists("the-end"), 20, self.run.logs)
        wait_until(lambda: self.run.metrics().value("invalidator_pending") == 0, 20, self.run.logs)

    def findings(self) -> Mapping[str, Finding]:
        """What each cache holds, and how much of it is stale."""
        self.stage.shop.ask("pause")
        return examine(self.stage, self.database)


@pytest.fixture
def shop(
    redis_server: MakeRedis,
    memcached_server: MakeMemcached,
    daemon: MakeDaemon,
    folder: Callable[[str], Path],
    cleanup: ExitStack,
) -> Callable[..., Shop]:
    def make(*, guards: bool) -> Shop:
        directory = folder("shop")
        source, replica, memcached = redis_server(), redis_server(), memcached_server()
        addresses = {"lru": str(directory / "shop.gen"), "redis": replica.url, "memcached": memcached.address}
        truth.create(directory / "truth", PRODUCTS)
        stage = Stage(directory, source, addresses, [])
        run = daemon(topology(stage, guards=guards))
        arguments = [str(stage.truth), str(HOT), json.dumps(addresses)]
        stage.shop = Child(["invalidator.demo.shop", *arguments], directory / "shop.log")
        cleanup.callback(stage.shop.close)
        stage.shop.ask("warm")
        return Shop(
            run=run,
            stage=stage,
            database=cleanup.enter_context(truth.opened(stage.truth)),
            source=cleanup.enter_context(closing(redis.Redis.from_url(source.url))),
            replica=cleanup.enter_context(closing(redis.Redis.from_url(replica.url))),
            memcached=memcached,
        )

    return make


def topology(stage: Stage, *, guards: bool) -> dict[str, Any]:
    flushes: dict[str, dict[str, Any]] = {
        "redis": {"flush": {"prefix": truth.PREFIX}},
        "memcached": {"flush": {"all": True}},
    }
    settings: dict[str, Any] = {} if guards else {"on_gap": "ignore", "flush_on_start": False}
    return {
        "redis": {"url": stage.broker.url},
        "backends": {
            "lru": {"type": "lru", "path": stage.addresses["lru"]},
            "redis": {"type": "redis", "url": stage.addresses["redis"]},
            "memcached": {"type": "memcached", "servers": [stage.addresses["memcached"]]},
        },
        "workers": [
            {
                "name": name,
                "pattern": "cache:invalidate:shop:*",
                "backends": [{"backend": lane, **(flushes.get(lane, {}) if guards else {})} for lane in lanes],
                **settings,
            }
            for name, lanes in LANES.items()
        ],
    }


@contextmanager
def writing(shop: Shop) -> Iterator[None]:
    """The back office changes products and publishes each change, until the end of the block."""
    arguments = [shop.stage.broker.url, CHANNEL, str(shop.stage.truth), str(HOT), str(RATE), "120"]
    writer = subprocess.Popen(
        [sys.executable, "-m", "invalidator.demo.writer", *arguments], stdin=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        # It ends with its input, and not in the middle: a change that it did not publish would be stale for good.
        writer.communicate(timeout=20)
    assert writer.returncode == 0


def kill_under_load(shop: Shop, kills: int) -> None:
    workers = dict(zip(LANES, shop.run.pids(), strict=True))
    chance = random.Random(kills)
    shop.stage.shop.ask("read")
    with writing(shop):
        for number in range(kills):
            shop.under_load(chance.randint(*BETWEEN))
            shop.kill(workers, list(LANES)[number % len(LANES)])
        shop.under_load(RATE)
    shop.come_to_rest()


def test_fifty_kills_under_load_leave_nothing_stale(shop: Callable[..., Shop]) -> None:
    scene = shop(guards=True)
    kill_under_load(scene, KILLS)
    found = scene.findings()

    assert {kind: finding.stale for kind, finding in found.items()} == dict.fromkeys(found, 0)
    assert all(finding.held > HOT for finding in found.values()), f"there was too little to look at: {found}"
    metrics = scene.run.metrics()
    assert metrics.value("invalidator_worker_restarts_total", reason="signal") == KILLS
    assert metrics.value("invalidator_worker_restarts_total") == KILLS
    for worker, lanes in LANES.items():
        for backend in lanes:
            assert abs(unaccounted(metrics, worker, backend)) <= KILLS
            assert metrics.value("invalidator_targets_total", worker=worker, backend=backend, end="lost") == 0


def test_without_the_flush_after_a_kill_the_oracle_finds_what_is_stale(shop: Callable[..., Shop]) -> None:
    # The control for the test above: a tenth of the kills, and gaps ignored.
    scene = shop(guards=False)
    kill_under_load(scene, KILLS // 5)
    found = scene.findings()

    assert all(finding.stale for finding in found.values()), found


def unaccounted(metrics: Metrics, worker: str, backend: str) -> float:
    """Targets received that have neither come to an end nor are pending."""
    lane = {"worker": worker, "backend": backend}
    ended = sum(metrics.value("invalidator_targets_total", **lane, end=end) for end in ENDS)
    received = metrics.value("invalidator_targets_received_total", **lane)
    return received - ended - metrics.value("invalidator_pending", **lane)
