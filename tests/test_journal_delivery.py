"""`delivery: journal`, seen from outside: a real Redis, a real daemon, real caches, and what became of each entry."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from invalidator.screen.words import shortcomings
from tests.support.control import status
from tests.support.journaled import adds_up, cursors, flushes, gone, settled, topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached
    from tests.support.journals import Publisher
    from tests.support.stores import MemcachedServer, RedisServer


@pytest.fixture
def store(memcached_server: MakeMemcached) -> MemcachedServer:
    return memcached_server()


def test_a_message_is_purged_once_though_it_is_heard_and_read(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store))
    wait_until(lambda: not any(lane["owes"] for lane in cursors(run)["lanes"].values()), 5, run.logs)
    store.set("users:1", "old")
    entry = publisher.publish("users:1")
    wait_until(lambda: gone(store, "users:1"), 5, run.logs)
    wait_until(lambda: settled(run, entry), 5, lambda: f"{cursors(run)}\n{run.logs()}")

    metrics = run.metrics()
    assert metrics.value("invalidator_targets_total", end="purged") == 1
    assert metrics.value("invalidator_messages_missed_total") == 0
    assert adds_up(run)


def test_what_was_not_heard_is_read_and_counted_as_missed(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store))
    store.set("users:1", "old")
    publisher.add("carts:1", channel="cache:invalidate:carts:x")
    entry = publisher.add("users:1")
    wait_until(lambda: gone(store, "users:1"), 5, run.logs)
    run.wait_metric("invalidator_messages_missed_total", 1)
    wait_until(lambda: settled(run, entry), 5, run.logs)
    assert flushes(run) == {"start": 1}


def test_the_first_cursor_is_on_the_disk_before_the_worker_is_ready(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    entry = publisher.add("users:1")
    run = daemon(topology(source, store))

    assert cursors(run)["lanes"][f"store0 {store.address}"]["at"] == entry


def test_a_state_dir_that_takes_no_cursor_keeps_the_worker_from_being_ready(
    source: RedisServer, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store), ready=False)
    # The control for the test above. A directory of the file's name: even for root, no file can take its place.
    wait_until((run.folder / "state" / "cursors" / "users.json").exists, 10, run.logs)
    assert run.stop() == 0
    (run.folder / "state" / "cursors" / "users.json").unlink()
    (run.folder / "state" / "cursors" / "users.json" / "x").mkdir(parents=True)
    run.start(ready=False)
    wait_until(lambda: run.logs().count('"cursors.not_kept"') == 1, 10, run.logs)
    wait_until(lambda: "redis.subscribed" in run.logs().rpartition("cursors.not_kept")[0], 10, run.logs)

    assert run.status("/readyz") == 503
    assert any(trouble.startswith("users is STARTING (cursors: ") for trouble in status(run).troubles)


def test_a_state_dir_that_takes_no_cursor_any_more_is_said_and_stops_nobody(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store))
    directory = run.folder / "state" / "cursors"
    directory.rename(directory.with_name("elsewhere"))
    directory.touch()
    publisher.publish("users:1")
    wait_until(lambda: any("mend the disk" in said for said in shortcomings(status(run).workers[0])), why=run.logs)
    assert status(run).state == "running"
    directory.unlink()

    wait_until(lambda: not shortcomings(status(run).workers[0]), why=run.logs)
    assert (directory / "users.json").exists()


def test_a_gap_is_repaired_by_reading_and_nothing_is_flushed(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store))
    keys = [f"users:{number}" for number in range(50)]
    for key in (*keys, "users:not-asked-for"):
        store.set(key, "old")
    publisher.client.client_kill_filter(_type="pubsub")
    for key in keys:
        entry = publisher.publish(key)
    run.wait_metric("invalidator_gaps_total", 1, cause="disconnect")
    wait_until(lambda: settled(run, entry), 5, run.logs)

    assert gone(store, *keys)
    assert store.get("users:not-asked-for") == "old"
    assert flushes(run) == {"start": 1}
    assert adds_up(run)


def test_a_successor_goes_on_from_the_cursor_and_flushes_nothing(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store))
    wait_until(lambda: settled(run, "0-0"), 5, run.logs)
    publisher.publish("users:0")
    wait_until(lambda: not settled(run, "0-0"), 5, run.logs)
    assert run.stop() == 0
    for key in ("users:1", "users:2"):
        store.set(key, "old")
    entry = publisher.publish("users:1")
    run.start()
    wait_until(lambda: settled(run, entry), 5, run.logs)

    assert store.get("users:1") is None
    assert store.get("users:2") == "old"
    assert flushes(run) == {}


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(b"\x00\xff garbage", id="garbage"),
        pytest.param(b'{"version":1,"stream":"invalidator:journal","pattern":"other:*","lanes":{}}', id="pattern"),
    ],
)
def test_a_cursor_that_says_nothing_of_this_worker_is_none(
    source: RedisServer, store: MemcachedServer, daemon: MakeDaemon, kept: bytes
) -> None:
    wanted = topology(source, store)
    wanted["workers"][0]["flush_on_start"] = False  # spares a deploy, and not those whose cursors are spoilt
    run = daemon(wanted)
    assert not flushes(run)
    assert run.logs().count("cursors.none") == 1, "nobody else would say that nothing is flushed"
    assert run.stop() == 0
    (run.folder / "state" / "cursors" / "users.json").write_bytes(kept)
    store.set("users:1", "old")
    run.start()

    assert store.get("users:1") is None
    assert flushes(run) == {"start": 1}
    assert run.logs().count("cursors.") == 2


def test_at_a_start_the_memory_of_applications_is_flushed_and_whatever_else_has_no_wait_is_told_what_it_missed(
    source: RedisServer, publisher: Publisher, daemon: MakeDaemon, tmp_path: Path
) -> None:
    whole = topology(source, backends=["said", "near"])
    whole["backends"] = {"said": {"type": "log"}, "near": {"type": "lru", "path": str(tmp_path / "shop.gen")}}
    run = daemon(whole)
    entry = publisher.publish("users:1")
    wait_until(lambda: settled(run, entry), 5, run.logs)
    assert run.stop() == 0
    publisher.add("users:2")
    run.start()
    wait_until(lambda: '"users:2"' in run.logs(), 5, run.logs)

    metrics = run.metrics()
    assert metrics.value("invalidator_flushes_total", backend="near", cause="start") == 1
    assert metrics.value("invalidator_flushes_total", backend="said") == 0


def test_a_backend_that_has_become_another_one_is_flushed_though_its_name_has_a_cursor(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    wanted = topology(source, store)
    wanted["backends"]["store0"]["dry_run"] = True
    run = daemon(wanted)
    store.set("users:1", "old")
    entry = publisher.publish("users:1")
    wait_until(lambda: settled(run, entry), 5, run.logs)
    assert store.get("users:1") == "old", "a rehearsal"
    wanted["backends"]["store0"]["dry_run"] = False
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: gone(store, "users:1"), 5, run.logs)


def test_what_is_not_acted_on_is_counted_once_on_whichever_ways_it_comes(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, store, ignore_source=["shop"], allow=["key"]))
    said: list[dict[str, object]] = [
        {"keys": ["users:1"], "source": "shop"},
        {"keys": ["users:1"], "hops": 8},
        {"v": 2, "keys": ["users:1"]},
        {"tags": ["no"]},
        {"keys": "no list"},
        {"keys": ["users:1"], "tags": ["no"], "id": "sound, but for one target"},
    ]
    for number in range(2):
        for message in said:
            publisher.publish_text(json.dumps(message | {"ts": number}), heard=bool(number))
    last = publisher.publish("users:2")
    wait_until(lambda: settled(run, last), 5, run.logs)

    run.wait_metric("invalidator_messages_missed_total", 1)
    metrics = run.metrics()
    assert metrics.value("invalidator_messages_received_total", worker="users") == 2 * len(said) + 1
    assert {
        reason: metrics.value("invalidator_messages_ignored_total", worker="users", reason=reason)
        for reason in ("source", "hops", "duplicate")
    } == {"source": 2, "hops": 2, "duplicate": 0}
    rejected = {"version": 2, "not_allowed": 4, "shape": 2}
    assert {
        reason: metrics.value("invalidator_messages_rejected_total", worker="users", reason=reason)
        for reason in rejected
    } == rejected
    assert metrics.value("invalidator_targets_total", end="purged") == 3


@pytest.mark.parametrize("on_gap", ["flush", "ignore"])
def test_what_a_killed_worker_had_pending_and_stands_in_no_journal_is_lost_only_if_nobody_flushes_it(
    source: RedisServer, publisher: Publisher, store: MemcachedServer, daemon: MakeDaemon, on_gap: str
) -> None:
    run = daemon(topology(source, store, on_gap=on_gap))
    wait_until(lambda: not any(lane["owes"] for lane in cursors(run)["lanes"].values()), 5, run.logs)
    publisher.say("users:0")
    wait_until(lambda: cursors(run)["unjournaled"], 5, run.logs)
    store.stop()
    publisher.say("users:1")
    run.wait_metric("invalidator_targets_received_total", 2)
    (pid,) = run.pids()
    os.kill(pid, signal.SIGKILL)
    run.wait_metric("invalidator_worker_restarts_total", 1, reason="signal")
    wait_until(lambda: run.pids() not in ([], [pid]), 5, run.logs)
    store.cont()
    wait_until(lambda: adds_up(run) and run.metrics().value("invalidator_pending") == 0, 10, run.logs)

    lost = run.metrics().value("invalidator_targets_total", end="lost")
    assert lost == (1 if on_gap == "ignore" else 0)
    if not lost:
        run.wait_metric("invalidator_flushes_total", 2, cause="start")
