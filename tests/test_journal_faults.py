"""`delivery: journal` under faults: everything is purged, or it is said that it was not and the scope is flushed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.journaled import adds_up, cursors, flushes, gone, settled, topology
from tests.support.journals import STREAM, Publisher
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import MemcachedServer, RedisServer


@pytest.fixture
def store(memcached_server: MakeMemcached) -> MemcachedServer:
    return memcached_server()


@pytest.fixture
def run(source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon) -> Daemon:
    """A daemon that has purged one message, and rests."""
    started = daemon(topology(source, store))
    publisher.add("users:0")
    entry = publisher.publish("users:0")
    wait_until(lambda: settled(started, entry), 5, started.logs)
    return started


def breaks(run: Daemon) -> dict[str, int]:
    """Journal breaks by kind, as the log tells of them."""
    kinds = ("trimmed", "backwards", "deleted", "dataset")
    counts = {kind: run.logs().count(f'"kind": "{kind}"') for kind in kinds}
    return {kind: count for kind, count in counts.items() if count}


def away(run: Daemon, fault: Any) -> None:
    """Do this to Redis while the daemon is stopped."""
    assert run.stop() == 0
    fault()
    run.start()


def test_trimmed_past_the_cursor(run: Daemon, publisher: Publisher, store: MemcachedServer) -> None:
    store.set("users:lost", "old")
    store.set("users:kept", "old")

    def fault() -> None:
        publisher.add("users:lost")
        publisher.client.xtrim(STREAM, maxlen=0, approximate=False)
        publisher.add("users:kept")

    away(run, fault)
    wait_until(lambda: gone(store, "users:lost", "users:kept"), 5, run.logs)
    run.wait_metric("invalidator_flushes_total", 1, cause="trimmed")

    run.wait_metric("invalidator_gaps_total", 1, cause="trimmed")  # told of once the subscription is back

    assert breaks(run) == {"trimmed": 1}
    assert run.metrics().value("invalidator_gaps_total", cause="trimmed") == 1


def test_the_cursors_entry_is_deleted(run: Daemon, publisher: Publisher, store: MemcachedServer) -> None:
    publisher.client.xdel(STREAM, cursors(run)["lanes"][f"store0 {store.address}"]["at"])
    store.set("users:1", "old")
    entry = publisher.publish("users:1")
    run.wait_metric("invalidator_flushes_total", 1, cause="trimmed")
    wait_until(lambda: settled(run, entry), 5, run.logs)

    assert breaks(run) == {"trimmed": 1}


def test_an_older_stream_is_restored(run: Daemon, publisher: Publisher, store: MemcachedServer) -> None:
    older = publisher.client.dump(STREAM)
    assert isinstance(older, bytes)
    publisher.publish("users:1")
    entry = publisher.publish("users:2")
    wait_until(lambda: settled(run, entry), 5, run.logs)
    store.set("users:3", "old")
    publisher.client.restore(STREAM, 0, older, replace=True)
    run.wait_metric("invalidator_flushes_total", 1, cause="trimmed")
    assert gone(store, "users:3")
    store.set("users:4", "old")
    entry = publisher.add("users:4")
    wait_until(lambda: settled(run, entry), 5, run.logs)

    assert breaks(run) == {"backwards": 1}
    assert gone(store, "users:4")


@pytest.mark.parametrize("command", ["DEL", "FLUSHALL"])
def test_the_stream_is_deleted(run: Daemon, publisher: Publisher, store: MemcachedServer, command: str) -> None:
    store.set("users:1", "old")
    publisher.do(*([command, STREAM] if command == "DEL" else [command]))
    run.wait_metric("invalidator_flushes_total", 1, cause="trimmed")
    assert gone(store, "users:1")
    store.set("users:2", "old")
    entry = publisher.add("users:2")
    wait_until(lambda: settled(run, entry), 5, run.logs)

    assert breaks(run) == {"deleted": 1}
    assert gone(store, "users:2")


def test_a_redis_that_was_killed_may_have_lost_what_nobody_has_read(
    redis_server: MakeRedis, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    source = redis_server("--appendonly", "yes", "--appendfsync", "always")
    publisher = Publisher(source)
    run = daemon(topology(source, store))
    entry = publisher.publish("users:1")
    wait_until(lambda: settled(run, entry), 5, run.logs)
    store.set("users:2", "old")
    os.kill(run.pids()[0], signal.SIGSTOP)
    publisher.add("users:2")
    source.kill()
    source.start()
    os.kill(run.pids()[0], signal.SIGCONT)
    run.wait_metric("invalidator_flushes_total", 1, cause="role")
    store.set("users:3", "old")
    entry = publisher.add("users:3")
    wait_until(lambda: settled(run, entry), 5, run.logs)
    publisher.close()

    assert breaks(run) == {"dataset": 1}
    assert gone(store, "users:2", "users:3")
    metrics = run.metrics()
    causes = ("start", "disconnect", "role", "trimmed", "deadline")
    found = {cause: metrics.value("invalidator_gaps_total", cause=cause) for cause in causes}
    assert found == {"start": 1, "disconnect": 1, "role": 0, "trimmed": 0, "deadline": 0}, "one outage is one Gap"


def test_a_message_without_a_journal_is_purged_and_counted_and_a_gap_is_then_flushed(
    run: Daemon, publisher: Publisher, store: MemcachedServer
) -> None:
    for key in ("users:1", "users:2", "users:3", "users:4", "users:5"):
        store.set(key, "old")
    known = publisher.add("users:5")
    publisher.say("users:1")
    publisher.say("users:2", journal="not an id")
    publisher.say("users:3", journal="99999999999999-7")
    publisher.say("users:4", journal=known)
    wait_until(lambda: gone(store, *(f"users:{number}" for number in range(1, 6))), 5, run.logs)
    run.wait_metric("invalidator_messages_unjournaled_total", 4)
    wait_until(lambda: cursors(run)["unjournaled"] > 0, 5, run.logs)
    store.set("users:6", "old")
    publisher.client.client_kill_filter(_type="pubsub")
    run.wait_metric("invalidator_flushes_total", 1, cause="disconnect")

    assert gone(store, "users:6")
    assert "stand in no journal" in run.logs()
    assert adds_up(run)


def test_a_key_that_is_no_stream_and_a_right_that_is_missing_are_said_and_end_nothing(
    source: RedisServer, run: Daemon, publisher: Publisher, store: MemcachedServer
) -> None:
    publisher.do("ACL", "SETUSER", "default", "-xrange")
    wait_until(lambda: run.status("/readyz") == 503, 10, run.logs)
    assert "no permissions to run the 'xrange' command" in run.logs()
    store.set("users:1", "old")
    publisher.publish("users:1")
    wait_until(lambda: gone(store, "users:1"), 5, run.logs)
    store.set("users:2", "old")
    publisher.add("users:2")
    publisher.do("ACL", "SETUSER", "default", "+xrange")
    wait_until(lambda: gone(store, "users:2"), 5, run.logs)
    wait_until(lambda: run.status("/readyz") == 200, 10, run.logs)
    publisher.client.delete(STREAM)
    publisher.client.set(STREAM, "no stream")
    wait_until(lambda: "something else than a Stream" in run.logs(), 5, run.logs)
    publisher.client.delete(STREAM)
    run.wait_metric("invalidator_flushes_total", 1, cause="trimmed")
    assert len(run.pids()) == 1
    assert flushes(run) == {"start": 1, "trimmed": 1}


def test_a_backend_that_was_away_is_repaired_in_bounded_memory_and_holds_up_no_other(
    source: RedisServer, publisher: Publisher, memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    well, gone_for_long = memcached_server(), memcached_server()
    run = daemon(topology(source, well, gone_for_long))
    keys = [f"users:{number}" for number in range(150_000)]  # a lane holds 100,000
    kept = {key for key in keys if key.endswith("99")}
    for key in kept:
        gone_for_long.set(key, "old")
    gone_for_long.stop()
    (worker,) = run.pids()
    publisher.publish_all(keys, size=200)
    entry = publisher.publish("users:last")
    wait_until(lambda: cursors(run)["lanes"][f"store0 {well.address}"]["at"] == entry, 20, run.logs)
    assert run.metrics().value("invalidator_pending", backend="store1") <= 100_000
    before = time.monotonic()
    well.set("users:quick", "old")
    publisher.publish("users:quick")
    wait_until(lambda: gone(well, "users:quick"), 2, run.logs)
    assert time.monotonic() - before < 1.0
    memory = resident(worker)
    gone_for_long.cont()
    wait_until(lambda: gone(gone_for_long, *kept), 20, run.logs)
    wait_until(lambda: len({lane["at"] for lane in cursors(run)["lanes"].values()}) == 1, 20, run.logs)

    assert flushes(run) == {"start": 2}, "what is in the journal is no reason to flush"
    assert adds_up(run, "store1")
    assert resident(worker) < memory + (64 << 20)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_worker_that_is_killed_again_and_again_loses_nothing(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store, on_gap="ignore"))

    assert kill_under_load(run, publisher, store, kills=4) == []


def test_without_reading_the_journal_a_killed_worker_does_lose_something(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    # The control for the test above: the same messages, and a worker that only hears.
    run = daemon(topology(source, store, on_gap="ignore", delivery="pubsub"))

    assert kill_under_load(run, publisher, store, kills=3)


def kill_under_load(run: Daemon, publisher: Publisher, store: MemcachedServer, kills: int) -> list[str]:
    """SIGKILLs at any moment, while keys are stored and invalidated. The keys that were not purged."""
    chance, done = random.Random(kills), threading.Event()
    keys: list[str] = []

    def write() -> None:
        while not done.is_set():
            key = f"users:{len(keys)}"
            keys.append(key)
            store.set(key, "old")
            publisher.publish(key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(kills):
            goal = len(keys) + chance.randint(1, 400)
            wait_until(lambda: len(keys) > goal, 20, run.logs)  # noqa: B023
            (worker,) = wait_until(run.pids, 5, run.logs)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: run.pids() and worker not in run.pids(), 5, run.logs)  # noqa: B023
    finally:
        done.set()
        writer.join()
    run.wait_ready()
    store.set("users:last", "old")
    publisher.publish("users:last")
    wait_until(lambda: gone(store, "users:last"), 20, run.logs)
    wait_until(lambda: run.metrics().value("invalidator_pending") == 0, 20, run.logs)
    return [key for key in keys if store.get(key) is not None]
