"""The job itself, seen from outside: publish to a real Redis, and a real cache no longer answers the old value."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.caches import Nginx, Varnish
    from tests.support.origin import Origin
    from tests.support.stores import RedisServer

CHANNEL = "cache:invalidate:users:profile"
ENDS = ("coalesced", "purged", "flushed", "dead", "skipped", "lost")


@pytest.fixture
def publish(source: RedisServer) -> Iterator[Callable[[str], None]]:
    """Publishes one payload; exactly one worker hears it."""
    with redis.Redis(host="127.0.0.1", port=source.port) as client:

        def one(payload: str) -> None:
            assert client.publish(CHANNEL, payload) == 1

        yield one


def topology(source: RedisServer, **backends: dict[str, Any]) -> dict[str, Any]:
    worker = {
        "name": "users",
        "pattern": "cache:invalidate:users:*",
        "backends": list(backends),
        "on_gap": "ignore",
    }
    return {"redis": {"url": source.url}, "backends": backends, "workers": [worker]}


def test_a_key_is_gone_from_memcached(
    source: RedisServer, publish: Callable[[str], None], memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    first, second = memcached_server(), memcached_server()
    for node in (first, second):
        node.set("users:42", "old")
        node.set("users:43", "not asked for")
    daemon(topology(source, objects={"type": "memcached", "servers": [first.address, second.address]}))
    publish("users:42")
    for node in (first, second):
        wait_until(lambda node=node: node.get("users:42") is None, 5, "the key is still there")  # type: ignore[misc]
        assert node.get("users:43") == "not asked for"


def test_a_key_and_a_prefix_are_gone_from_a_secondary_redis(
    source: RedisServer, publish: Callable[[str], None], redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    replica = redis_server()
    worker = topology(source, replica={"type": "redis", "url": replica.url, "key": "shop:{key}"})
    with redis.Redis(host="127.0.0.1", port=replica.port, decode_responses=True) as client:
        client.mset({"shop:users:42": "old", "shop:users:43": "old", "shop:users:44": "old", "shop:carts:1": "other"})
        daemon(worker)
        publish("users:42")
        wait_until(lambda: not client.exists("shop:users:42"), 5, "the key is still there")
        publish("users:*")
        wait_until(lambda: client.keys("*") == ["shop:carts:1"], 5, "the prefix is still there")


def test_a_page_is_gone_from_varnish(
    source: RedisServer,
    publish: Callable[[str], None],
    varnish: Callable[[], Varnish],
    origin: Origin,
    daemon: MakeDaemon,
) -> None:
    cache = varnish()
    old = cache.get("/users:42").body
    daemon(topology(source, edge={"type": "http", "targets": [cache.url], "method": "PURGE", "path": "/{key}"}))
    new = origin.change("/users:42")
    assert cache.get("/users:42").body == old != new
    publish("users:42")
    wait_until(lambda: cache.get("/users:42").body == new, 5, "the page is still the old one")


def test_a_page_is_gone_from_nginx(
    source: RedisServer,
    publish: Callable[[str], None],
    nginx_cache: Callable[[], Nginx],
    origin: Origin,
    daemon: MakeDaemon,
) -> None:
    cache = nginx_cache()
    old = cache.get("/users:42").body
    daemon(topology(source, edge={"type": "http", "targets": [cache.url], "method": "GET", "path": "/purge/{key}"}))
    new = origin.change("/users:42")
    assert cache.get("/users:42").body == old != new
    publish("users:42")
    wait_until(lambda: cache.get("/users:42").body == new, 5, "the page is still the old one")


APPLICATION = """
import sys
from invalidator_lru import LRUCache
cache = LRUCache(sys.argv[1], maxsize=100)
for line in sys.stdin:
    key, database = line.split()
    print(cache.get_or_load(key, lambda key=key: database), flush=True)
"""


class Application:
    """Another process with an LRU cache. `read(key, value)`: its answer while `value` is what the database holds."""

    def __init__(self, table: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, str(table)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def read(self, key: str, value: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{key} {value}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=10)


def test_a_value_is_gone_from_an_lru_in_another_process(
    source: RedisServer,
    publish: Callable[[str], None],
    folder: Callable[[str], Path],
    cleanup: ExitStack,
    daemon: MakeDaemon,
) -> None:
    table = folder("table") / "shop.gen"
    settings = topology(source, near={"type": "lru", "path": str(table)})
    settings["workers"][0]["on_gap"] = "flush"
    run = daemon(settings)
    application = Application(table)
    cleanup.callback(application.close)
    for key in ("users:42", "users:43"):
        assert application.read(key, "old") == "old"
        assert application.read(key, "new") == "old", "it does not cache at all"
    publish("users:42")
    wait_until(lambda: application.read("users:42", "new") == "new", 5, "the value is still the old one")
    assert application.read("users:43", "new") == "old", "what was not asked for is gone as well"
    run.stop()
    assert application.read("users:43", "newer") == "newer", "nobody would tell it of a change any more"


def test_a_store_that_hangs_holds_up_no_other_and_every_target_is_accounted_for(
    source: RedisServer, publish: Callable[[str], None], memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    hanging, healthy = memcached_server(), memcached_server()
    run = daemon(
        topology(
            source,
            slow={"type": "memcached", "servers": [hanging.address]},
            quick={"type": "memcached", "servers": [healthy.address]},
        )
    )
    hanging.set("users:1", "old")
    hanging.stop()
    for number in range(50):
        healthy.set(f"users:{number}", "old")
    for number in range(50):
        publish(f"users:{number}")
    wait_until(lambda: not any(healthy.get(f"users:{number}") for number in range(50)), 5, run.logs)
    wait_until(lambda: run.metrics().value("invalidator_pending", worker="users", backend="quick") == 0, 5, run.logs)

    metrics = run.metrics()
    for backend in ("slow", "quick"):
        lane = {"worker": "users", "backend": backend}
        received = metrics.value("invalidator_targets_received_total", **lane)
        ended = sum(metrics.value("invalidator_targets_total", **lane, end=end) for end in ENDS)
        assert received == 50 == ended + metrics.value("invalidator_pending", **lane)

    hanging.cont()
    wait_until(lambda: hanging.get("users:1") is None, 20, run.logs)


def test_a_killed_worker_is_replaced_and_goes_on_purging(
    source: RedisServer, publish: Callable[[str], None], memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    node = memcached_server()
    node.set("users:42", "old")
    run = daemon(topology(source, objects={"type": "memcached", "servers": [node.address]}))
    (before,) = run.pids()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: before not in run.pids() and len(run.pids()) == 1, 5, run.logs)
    run.wait_ready()
    publish("users:42")
    wait_until(lambda: node.get("users:42") is None, 5, run.logs)
    assert run.metrics().value("invalidator_worker_restarts_total", worker="users") == 1


def test_the_daemon_stops_when_told_and_leaves_nothing_behind(source: RedisServer, daemon: MakeDaemon) -> None:
    run = daemon(topology(source, words={"type": "log"}))
    assert len(run.pids()) == 1
    assert run.stop() == 0


def test_no_worker_outlives_a_killed_daemon(source: RedisServer, daemon: MakeDaemon) -> None:
    run = daemon(topology(source, words={"type": "log"}))
    (worker,) = run.pids()
    os.kill(worker, signal.SIGSTOP)
    run.signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
