"""invalidator doctor: who is subscribed, and who should be. With real daemons, and with some that go wrong."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.testing import RecordingServer, answering
from invalidator_lru import LRUCache
from tests.support.doctor import PATTERN, client, diagnose, diagnosed, subscribed, topology, worker
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.caches import Varnish
    from tests.support.daemon import Daemon

ORDERS = "cache:invalidate:orders:*"


def test_a_daemon_that_does_its_whole_job_shows_nothing_wrong(
    redis_server: MakeRedis,
    memcached_server: MakeMemcached,
    varnish: Callable[[], Varnish],
    daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    source, objects, replica = redis_server(), memcached_server(), redis_server()
    whole = topology(
        source.url,
        backends={
            "near": {"type": "lru", "path": str(tmp_path / "shop.gen")},
            "objects": {"type": "memcached", "servers": [objects.address], "key": "shop:{key}"},
            "replica": {"type": "redis", "url": replica.url, "key": "shop:{key}"},
            "edge": {"type": "http", "targets": [varnish().url], "path": "/{key}"},
        },
        workers=[
            worker("users", PATTERN, "near", "objects", "replica", on_gap="flush"),
            worker("literal", "cache:one", "near"),
        ],
    )
    whole["workers"][0]["backends"].append({"backend": "edge", "on_gap": "ignore"})
    run = daemon(whole)
    cache = LRUCache(tmp_path / "shop.gen")
    wait_until(lambda: cache.get_or_load("users:42", str.upper) == cache.get("users:42"))
    report = diagnosed(run.file)

    assert cache.get("users:42") == "USERS:42", "nothing of the application's may go"
    assert report.code == 0
    assert report.ids("wrong", "note") == set()
    assert report.trouble() == {"topology.remark"}
    assert "ignores gaps" in report.evidence("topology.remark")
    assert "says 200" in report.evidence("daemon.ready")
    there = [found["evidence"] for found in report.findings if found["id"] == "subscription.there"]
    assert "worker users: 1 connection" in there[0]
    assert "worker literal: 1 connection" in there[1]
    assert "PUBSUB NUMPAT is 1, 1 expected" in report.evidence("subscription.counted")
    assert "PUBSUB NUMSUB cache:one is 1" in report.evidence("subscription.counted")
    assert [found["subject"] for found in report.findings if found["id"] == "backend.purges"] == [
        "backend near",
        "backend objects",
        "backend replica",
    ]
    assert "not proven" in report.evidence("backend.accepts")
    with client(replica.url) as asked:
        assert asked.keys("*") == []


def test_nobody_is_subscribed_and_there_is_no_daemon(redis_server: MakeRedis, tmp_path: Path) -> None:
    report = diagnose(tmp_path, topology(redis_server().url))
    found = report.the("subscription.no_daemon")
    assert report.code == 1
    assert "PUBSUB NUMPAT is 0, 1 expected" in found["evidence"]
    assert "no connection is named invalidator:users" in found["evidence"]
    assert f"invalidator run -c {tmp_path}" in found["fix"]
    assert "refused" in report.evidence("daemon.away")


def test_a_daemon_runs_and_one_of_its_workers_is_not_subscribed(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "default", "resetchannels", f"&{PATTERN}")
        workers = [worker("users", PATTERN), worker("orders", ORDERS)]
        run = daemon(topology(server.url, workers=workers), ready=False)
        wait_until(lambda: len(asked.client_list(_type="pubsub")) == 1, 10, run.logs)
        wait_until(lambda: "redis.refused" in run.logs() or "redis.lost" in run.logs(), 10, run.logs)
        report = diagnosed(run.file)
    assert report.code == 1
    assert "worker orders" in report.evidence("subscription.missing")
    assert "subscribed: users" in report.evidence("subscription.missing")
    assert "worker users" in report.evidence("subscription.there")
    assert "not subscribed: orders" in report.evidence("daemon.not_ready")
    assert "worker orders" in report.evidence("rights.denied")


def test_a_daemon_that_has_not_read_the_new_topology(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server.url, workers=[worker("users", PATTERN), worker("one", "cache:one")]))
    changed = [worker("users", PATTERN), worker("one", "cache:two"), worker("orders", ORDERS)]
    run.write(topology(server.url, workers=changed))
    report = diagnosed(run.file)
    assert "worker orders" in report.evidence("subscription.missing")
    assert "PUBSUB NUMSUB cache:two is 0" in report.evidence("subscription.elsewhere")
    assert f"invalidator reload -c {run.file} --wait" in report.the("subscription.elsewhere")["fix"]

    run.signal(signal.SIGHUP)
    wait_until(lambda: len(run.pids()) == 3 and run.status("/readyz") == 200, 10, run.logs)
    assert not {"subscription.missing", "subscription.elsewhere"} & diagnosed(run.file).ids()


def test_as_many_patterns_as_there_should_be_and_one_of_them_is_another(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    run = daemon(topology(server.url, workers=[worker("users", PATTERN), worker("orders", ORDERS)]))
    assert "subscription.elsewhere" not in diagnosed(run.file).ids()
    run.write(topology(server.url, workers=[worker("users", PATTERN), worker("orders", f"{ORDERS}x")]))
    report = diagnosed(run.file)
    assert "PUBSUB NUMPAT is 2, 2 expected" in report.evidence("subscription.counted")
    assert f"worker orders, pattern {ORDERS}x: NUMPAT grew" in report.evidence("subscription.elsewhere")
    assert report.code == 1


def test_a_worker_that_is_stopped_is_one_that_nobody_pings_for(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server.url, redis=quick(server.url)))
    assert "subscription.silent" not in diagnosed(run.file).ids()
    (pid,) = run.pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        with client(server.url) as asked:
            wait_until(lambda: int(asked.client_list(_type="pubsub")[0]["idle"]) > 1)
        report = diagnosed(run.file)
    finally:
        os.kill(pid, signal.SIGCONT)
    silent = report.the("subscription.silent")
    assert silent["level"] == "wrong"
    assert "heartbeat deadline 0.3 s" in silent["evidence"]
    assert "subscription.there" not in report.ids()


def quick(url: str) -> dict[str, Any]:
    return {"url": url, "heartbeat": {"interval": "100ms", "deadline": "300ms"}}


@pytest.mark.parametrize(("with_it", "kind"), [(False, "subscription.too_few"), (True, "subscription.unseen")])
def test_without_client_list_the_numbers_are_what_there_is(
    redis_server: MakeRedis, tmp_path: Path, with_it: bool, kind: str
) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "allchannels", "+@all", "-client|list")
    if with_it:
        with subscribed(server.url):
            report = diagnose(tmp_path, topology(mine))
    else:
        report = diagnose(tmp_path, topology(mine))
    assert report.code == (0 if with_it else 1)
    assert "PUBSUB NUMPAT is" in report.evidence(kind)


def test_a_connection_of_the_name_that_hears_no_pattern(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    with subscribed(server.url, "a:literal:channel"):
        assert "psub=0" in diagnose(tmp_path, topology(server.url)).evidence("subscription.elsewhere")


def test_fewer_patterns_than_connections(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    workers = [worker("users", PATTERN), worker("orders", ORDERS)]
    with subscribed(server.url), subscribed(server.url, PATTERN, "invalidator:orders"):
        report = diagnose(tmp_path, topology(server.url, workers=workers))
    assert "fewer patterns" in next(each["evidence"] for each in report.findings if "elsewhere" in each["id"])


# The daemon's own door.


def test_something_else_answers_where_the_daemon_would(redis_server: MakeRedis, tmp_path: Path) -> None:
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with RecordingServer(answering(b"\r\n\r\n", page)) as stranger:
        report = diagnose(tmp_path, topology(redis_server().url), metrics=stranger.address)
    assert "/readyz says 404" in report.evidence("daemon.stranger")


def test_a_daemon_without_a_door_cannot_be_seen(redis_server: MakeRedis, tmp_path: Path) -> None:
    assert "null" in diagnose(tmp_path, topology(redis_server().url), metrics=None).evidence("daemon.unseen")


def test_a_daemon_behind_a_unix_socket(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    whole = topology(redis_server().url, supervisor={"metrics": f"unix:{tmp_path}/m"})
    run: Daemon = daemon(whole, ready=False)
    wait_until(lambda: "daemon.ready" in diagnosed(run.file).ids(), 10, run.logs)
