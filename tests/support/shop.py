"""A shop under load: a daemon whose two workers share three caches, an application that refills them, and an oracle.

What the database says is true at each moment is known, so that at the end every cache can be asked for what is stale.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from invalidator.stage import truth
from invalidator.stage.building import Stage
from invalidator.stage.caches import Caches
from invalidator.stage.oracle import examine
from invalidator.stage.process import Child
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from invalidator.stage.oracle import Finding
    from invalidator.stage.truth import Truth
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import MemcachedServer

RATE = 1_500
"""Changes published in a second, one message each."""
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


@dataclass(frozen=True)
class Opener:
    """Makes a shop of servers that end with the test."""

    redis_server: MakeRedis
    memcached_server: MakeMemcached
    daemon: MakeDaemon
    folder: Callable[[str], Path]
    cleanup: ExitStack

    def __call__(self, *, guards: bool, **changes: Any) -> Shop:
        """`guards`: a Gap is repaired by a flush; otherwise it is ignored. `changes` are made to the topology."""
        directory = self.folder("shop")
        source, replica, memcached = self.redis_server(), self.redis_server(), self.memcached_server()
        addresses = {"lru": str(directory / "shop.gen"), "redis": replica.url, "memcached": memcached.address}
        truth.create(directory / "truth", PRODUCTS)
        stage = Stage(directory, source, Caches(addresses))
        run = self.daemon(topology(stage, guards=guards) | changes)
        arguments = [str(stage.truth), str(HOT), json.dumps(addresses)]
        stage.shop = Child(["invalidator.stage.shop", *arguments], directory / "shop.log")
        self.cleanup.callback(stage.shop.close)
        stage.shop.ask("warm")
        return Shop(
            run=run,
            stage=stage,
            database=self.cleanup.enter_context(truth.opened(stage.truth)),
            source=self.cleanup.enter_context(closing(redis.Redis.from_url(source.url))),
            replica=self.cleanup.enter_context(closing(redis.Redis.from_url(replica.url))),
            memcached=memcached,
        )


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
def writing(shop: Shop, rate: int = RATE) -> Iterator[None]:
    """The back office changes products and publishes each change, until the end of the block."""
    arguments = [shop.stage.broker.url, CHANNEL, str(shop.stage.truth), str(HOT), str(rate), "120", "pubsub"]
    writer = subprocess.Popen(
        [sys.executable, "-m", "invalidator.stage.writer", *arguments], stdin=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        # It ends with its input, and not in the middle: a change that it did not publish would be stale for good.
        writer.communicate(timeout=20)
    assert writer.returncode == 0
