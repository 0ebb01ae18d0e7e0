"""docs/refill-race.md: a reader that stores what it read before an invalidation, after the purge."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from invalidator import Publisher
from invalidator_lru import LRUCache
from tests.support.environments import REPOSITORY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.stores import MemcachedServer

REBOUND = 0.4
CHANNEL, KEY = "cache:users:profile", "users:42"


def topology(url: str, server: MemcachedServer, **lane: Any) -> dict[str, Any]:
    return {
        "redis": {"url": url},
        "backends": {"objects": {"type": "memcached", "servers": [server.address]}},
        "workers": [{"pattern": "cache:users:*", "backends": [{"backend": "objects", "on_gap": "ignore", **lane}]}],
    }


def lose_the_race(url: str, server: MemcachedServer) -> None:
    """The reader has read "Ada", and is slow; meanwhile it is Grace, and purged everywhere. Then the reader stores."""
    server.set(KEY, "Ada")
    with Publisher(url) as publisher:
        publisher.invalidate(CHANNEL, [KEY], wait=5)
    assert server.get(KEY) is None
    server.set(KEY, "Ada")


def test_without_a_rebound_what_was_read_before_the_purge_stays(
    daemon: MakeDaemon, redis_server: MakeRedis, memcached_server: MakeMemcached
) -> None:
    redis, objects = redis_server(), memcached_server()
    daemon(topology(redis.url, objects))
    lose_the_race(redis.url, objects)
    until = time.monotonic() + 2 * REBOUND  # by then a rebound would have come
    with Publisher(redis.url) as publisher:
        while time.monotonic() < until:
            publisher.invalidate(CHANNEL, ["users:43"], wait=5)
    assert objects.get(KEY) == "Ada", "stale, and nobody has lost anything"


def test_a_rebound_takes_it_away(daemon: MakeDaemon, redis_server: MakeRedis, memcached_server: MakeMemcached) -> None:
    redis, objects = redis_server(), memcached_server()
    run = daemon(topology(redis.url, objects, rebound=f"{REBOUND * 1000:g}ms"))
    lose_the_race(redis.url, objects)
    assert objects.get(KEY) == "Ada"
    wait_until(lambda: objects.get(KEY) is None, 5, run.logs)


def test_an_lru_never_keeps_it(daemon: MakeDaemon, redis_server: MakeRedis, tmp_path: Path) -> None:
    redis, path = redis_server(), tmp_path / "shop.gen"
    daemon(
        {
            "redis": {"url": redis.url},
            "backends": {"near": {"type": "lru", "path": str(path)}},
            "workers": [{"pattern": "cache:users:*", "backends": ["near"]}],
        }
    )
    cache = LRUCache(str(path), maxsize=100)
    wait_until(cache.is_proven, 5)
    database = ["Ada"]
    reading, invalidated = threading.Event(), threading.Event()

    def slow(_: str) -> str:
        read = database[0]
        reading.set()
        assert invalidated.wait(10)
        return read

    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(cache.get_or_load(KEY, slow)))
    reader.start()
    assert reading.wait(10)
    database[0] = "Grace"
    with Publisher(redis.url) as publisher:
        publisher.invalidate(CHANNEL, [KEY], wait=5)
    invalidated.set()
    reader.join()
    assert answers == ["Ada"], "who asked before may hear what was true then"
    assert cache.get_or_load(KEY, lambda _: database[0]) == "Grace", "and nobody after it"
    kept = LRUCache(str(path), maxsize=100)
    wait_until(kept.is_proven, 5)
    kept.set(KEY, "Ada")
    assert kept.get_or_load(KEY, lambda _: database[0]) == "Ada", "a plain set has no guard, and says so in its README"


def test_the_page_shows_a_setting_that_there_is() -> None:
    page = (REPOSITORY / "docs" / "refill-race.md").read_text()
    assert "rebound: 2s" in page
    assert "docs/refill-race.md" in (REPOSITORY / "README.md").read_text()
