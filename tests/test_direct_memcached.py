"""A worker that sends to memcached by itself: what memcached does to that lane, it does to no other, and nothing is
lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from invalidator.testing import Conversation, RecordingServer
from tests.support.metrics import unaccounted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

PURGED = "invalidator_targets_total"


def topology(source: RedisServer, address: str, folder: Path) -> dict[str, Any]:
    near = {"type": "lru", "path": str(folder / "near.gen")}
    return {
        "redis": {"url": source.url},
        "backends": {"near": near, "objects": {"type": "memcached", "servers": [address], "timeout": "200ms"}},
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["near", {"backend": "objects", "on_gap": "ignore"}],
            }
        ],
    }


def purged(run: Daemon, backend: str = "objects") -> float:
    return run.metrics().value(PURGED, backend=backend, end="purged")


def one_by_one(source: RedisServer, names: range, after: Callable[[], object] = lambda: None) -> None:
    """Messages of one key each; `after` each of them."""
    with redis.Redis.from_url(source.url) as client:
        for number in names:
            assert client.publish("cache:users:x", f"users:{number}") == 1
            after()


def all_are_purged(run: Daemon, count: int) -> None:
    run.wait_metric(PURGED, count, 15, backend="objects", end="purged")
    wait_until(lambda: run.metrics().value("invalidator_pending", backend="objects") == 0, 15, run.logs)
    metrics = run.metrics()
    ends = {end: metrics.value(PURGED, backend="objects", end=end) for end in ("purged", "coalesced", "dead", "lost")}
    assert ends == {"purged": count, "coalesced": 0, "dead": 0, "lost": 0}, run.logs()
    assert unaccounted(metrics, "users", "objects") == 0


def test_a_memcached_that_is_stopped_holds_up_no_other_lane_and_is_purged_when_it_goes_on(
    source: RedisServer, memcached_server: MakeMemcached, daemon: MakeDaemon, tmp_path: Path
) -> None:
    objects = memcached_server()
    run = daemon(topology(source, objects.address, tmp_path))
    for number in range(60):
        objects.set(f"users:{number}", "old")
    one_by_one(source, range(10))
    run.wait_metric(PURGED, 10, backend="objects", end="purged")
    objects.stop()
    try:
        one_by_one(source, range(10, 60))
        run.wait_metric(PURGED, 60, 1, backend="near", end="purged")
        assert purged(run) == 10
    finally:
        objects.cont()
    all_are_purged(run, 60)
    assert [number for number in range(60) if objects.get(f"users:{number}")] == []


def test_a_memcached_that_is_killed_in_the_middle_and_comes_back_is_asked_for_everything(
    source: RedisServer, memcached_server: MakeMemcached, daemon: MakeDaemon, tmp_path: Path
) -> None:
    objects = memcached_server()
    run = daemon(topology(source, objects.address, tmp_path))
    one_by_one(source, range(200))
    objects.kill()
    one_by_one(source, range(200, 400))
    run.wait_metric("invalidator_purge_attempts_failed_total", 1, backend="objects")
    objects.start()
    for number in range(200, 600):
        objects.set(f"users:{number}", "old")
    one_by_one(source, range(400, 600))
    all_are_purged(run, 600)
    assert [number for number in range(400, 600) if objects.get(f"users:{number}")] == []


def rude(talk: Conversation) -> None:
    """In turn: late, with a line too many, with garbage, with half an answer and the end; and as it should."""
    for number in range(100):
        talk.read_until(b"mn\r\n")
        match (talk.number + number) % 6:
            case 1:
                talk.wait(0.08)
            case 2:
                talk.send(b"MN\r\n")
            case 3:
                talk.send(b"HTTP/1.1 400 Bad Request\r\n")
            case 4:
                talk.send(b"M")
                return
        talk.send(b"MN\r\n")


def test_a_memcached_that_answers_late_or_too_much_or_garbage_is_asked_again_until_each_key_is_purged(
    source: RedisServer, daemon: MakeDaemon, tmp_path: Path
) -> None:
    with RecordingServer(rude) as server:
        run = daemon(topology(source, server.address, tmp_path))
        done = 0

        def is_done() -> None:
            nonlocal done
            done += 1
            run.wait_metric(PURGED, done, 15, backend="objects", end="purged")

        one_by_one(source, range(12), is_done)
        all_are_purged(run, 12)
        assert run.stop() == 0
        asked = b"".join(server.received)
    assert all(b"md users:%d q\r\nmn\r\n" % number in asked for number in range(12))
