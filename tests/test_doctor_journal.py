"""invalidator doctor: what a journal needs, and what publishers are told, broken on a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.journal.cursors import Cursor, Cursors, encoded, path_of
from invalidator.presence import INDEX
from tests.support.doctor import PATTERN, apply, client, diagnose, diagnosed, subscribed, topology, worker
from tests.support.journals import STREAM, Publisher
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.doctor import Report
    from tests.support.stores import RedisServer


@pytest.fixture
def server(redis_server: MakeRedis) -> RedisServer:
    return redis_server("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def publisher(server: RedisServer) -> Iterator[Publisher]:
    made = Publisher(server)
    yield made
    made.close()


def journaled(url: str, **more: Any) -> dict[str, Any]:
    return topology(url, workers=[worker("users", PATTERN, delivery="journal")], **more)


def about(report: Report, *levels: str) -> set[str]:
    return {name for name in report.ids(*levels) if name.startswith("journal.")}


def kept(folder: Path, asked: RedisServer, *places: str, **changed: Any) -> Path:
    """The file of cursors that a worker would have left here, each lane at one of these places."""
    path = path_of(folder / "state", "users")
    path.parent.mkdir(parents=True, exist_ok=True)
    with client(asked.url) as connection:
        run_id = connection.info("server")["run_id"]
    lanes = {f"said{number}": Cursor(at) for number, at in enumerate(places)}
    path.write_bytes(
        encoded(Cursors(**{"stream": STREAM, "pattern": PATTERN, "server": run_id, "lanes": lanes, **changed}))
    )
    return path


def test_a_journal_that_is_in_order(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    first = publisher.publish("users:1")
    last = publisher.publish("users:2")
    kept(tmp_path, server, first, last)
    report = diagnose(tmp_path, journaled(server.url))

    assert about(report) == {"journal.there"}
    assert f"{STREAM}: it holds 2 of about 1,000,000 entries" in report.evidence("journal.there")
    assert "read by users" in report.evidence("journal.there")


def test_of_workers_without_a_journal_nothing_is_asked(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    with client(server.url) as asked:
        asked.config_resetstat()
        assert not about(diagnose(tmp_path, topology(server.url)))
        assert not {"cmdstat_xrange", "cmdstat_xinfo|stream"} & set(asked.info("commandstats"))


def test_who_may_not_read_it_is_told_what_to_grant_and_that_is_enough(
    server: RedisServer, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish("users:1")
    mine = journaled(server.url.replace("redis://", "redis://app:pw12345@"))
    publisher.do("ACL", "SETUSER", "app", "on", ">pw12345", "+@all", "-xrange", "-xrevrange", "-xinfo", "&*", "~other")
    report = diagnose(tmp_path, mine)
    assert report.code == 1
    assert report.evidence("journal.denied").startswith(f"worker users, as app: {STREAM}: ")

    apply(report.the("journal.denied")["fix"], server.url)
    assert about(diagnose(tmp_path, mine)) == {"journal.there"}


def test_who_may_not_ask_for_its_length_is_told_what_to_grant_and_that_is_enough(
    server: RedisServer, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish("users:1")
    mine = journaled(server.url.replace("redis://", "redis://app:pw12345@"))
    publisher.do("ACL", "SETUSER", "app", "on", ">pw12345", "+@all", "-xinfo", "&*", "~*")
    report = diagnose(tmp_path, mine)
    assert about(report, "wrong", "warning", "note") == {"journal.half_seen"}
    assert "it holds entries" in report.evidence("journal.there")

    apply(report.the("journal.half_seen")["fix"], server.url)
    assert about(diagnose(tmp_path, mine)) == {"journal.there"}


def test_a_key_of_another_type(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    publisher.client.set(STREAM, "a text")
    report = diagnose(tmp_path, journaled(server.url))
    assert report.code == 1
    assert about(report) == {"journal.wrong_type"}
    assert f"redis-cli TYPE {STREAM}" in report.the("journal.wrong_type")["fix"]


@pytest.mark.parametrize("emptied", [False, True])
def test_nothing_is_kept_yet(server: RedisServer, publisher: Publisher, tmp_path: Path, *, emptied: bool) -> None:
    if emptied:
        publisher.publish("users:1")
        publisher.client.xtrim(STREAM, maxlen=0, approximate=False)
    report = diagnose(tmp_path, journaled(server.url))
    assert about(report) == {"journal.empty"}
    assert ("it has no entry" if emptied else "there is no such key") in report.evidence("journal.empty")


def test_what_a_backend_has_yet_to_be_told_is_trimmed(
    server: RedisServer, publisher: Publisher, tmp_path: Path
) -> None:
    entries = [publisher.publish(f"users:{number}") for number in range(4)]
    kept(tmp_path, server, entries[0], entries[3])
    assert "journal.broken" not in diagnose(tmp_path, journaled(server.url)).ids()
    publisher.client.xtrim(STREAM, maxlen=2, approximate=False)
    report = diagnose(tmp_path, journaled(server.url))
    evidence = report.evidence("journal.broken")
    assert evidence == f"users → said0 is at {entries[0]}: trimmed; the oldest entry is {entries[2]}"


def test_a_journal_that_is_nearly_too_short_for_the_slowest_backend(
    server: RedisServer, publisher: Publisher, tmp_path: Path
) -> None:
    entries = [publisher.add("users:1", at=f"{number * 60_000}-0") for number in range(1, 11)]
    short = journaled(server.url, journal={"keep": 10})
    kept(tmp_path, server, entries[2], entries[9])
    evidence = diagnose(tmp_path, short).evidence("journal.tight")
    assert evidence.startswith("users → said0 has yet to be given about 78%; it holds 10 of about 10 entries")
    assert "the oldest 9 min before the latest" in evidence

    assert "journal.tight" not in diagnose(tmp_path, journaled(server.url)).ids(), "there is room for all of it yet"
    kept(tmp_path, server, entries[6])
    assert "journal.tight" not in diagnose(tmp_path, short).ids()


def test_another_server_than_the_workers_have_read(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    kept(tmp_path, server, publisher.publish("users:1"), server="f" * 40)
    report = diagnose(tmp_path, journaled(server.url))
    assert about(report, "wrong", "warning", "note") == {"journal.other_server"}


def test_a_file_of_cursors_that_cannot_be_read(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    path = kept(tmp_path, server, publisher.publish("users:1"))
    path.write_text("{")
    report = diagnose(tmp_path, journaled(server.url))
    assert str(path) in report.evidence("journal.cursors_unread")
    path.unlink()
    path.mkdir()
    assert os.strerror(21) in diagnose(tmp_path, journaled(server.url)).evidence("journal.cursors_unread")
    path.rmdir()
    kept(tmp_path, server, "1-1", pattern="another:*")
    assert about(diagnose(tmp_path, journaled(server.url))) == {"journal.there"}, "a former topology's is none"


def test_a_stream_that_may_be_evicted(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("users:1")
    found = {}
    for limit, policy in [("0", "allkeys-lru"), ("100mb", "volatile-lru"), ("100mb", "allkeys-lru")]:
        publisher.client.config_set("maxmemory", limit)
        publisher.client.config_set("maxmemory-policy", policy)
        found[limit, policy] = about(diagnose(tmp_path, journaled(server.url)), "warning")
    assert list(found.values()) == [set(), set(), {"journal.evictable"}]


def test_a_redis_that_may_lose_its_end(server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("users:1")
    publisher.do("CONFIG", "SET", "appendfsync", "everysec")
    assert diagnose(tmp_path, journaled(server.url)).evidence("journal.volatile") == "appendfsync is everysec"
    publisher.do("CONFIG", "SET", "appendonly", "no")
    assert diagnose(tmp_path, journaled(server.url)).evidence("journal.volatile") == "aof_enabled is 0"


def test_a_redis_that_is_away_has_one_finding_and_not_two(server: RedisServer, tmp_path: Path) -> None:
    server.kill()
    assert not about(diagnose(tmp_path, journaled(server.url)))


# What publishers are told.


@pytest.mark.parametrize(
    ("rules", "kind", "word"),
    [
        (("-set",), "rights.no_presence", "SET"),
        (("-zadd",), "rights.no_presence", "ZADD"),
        (("-zrem",), "rights.no_presence", "ZREM"),
        (("resetkeys",), "rights.no_presence", "SET"),
        (("resetchannels", f"&{PATTERN}", "&invalidator:echo:*"), "rights.no_receipts", "PUBLISH invalidator:reply:*"),
    ],
)
def test_who_cannot_be_waited_for_is_told_what_to_grant_and_that_is_enough(
    server: RedisServer, publisher: Publisher, tmp_path: Path, rules: tuple[str, ...], kind: str, word: str
) -> None:
    mine = topology(server.url.replace("redis://", "redis://app:pw12345@"))
    publisher.do("ACL", "SETUSER", "app", "on", ">pw12345", "+@all", "allchannels", "allkeys", *rules)
    report = diagnose(tmp_path, mine)
    assert report.the(kind)["level"] == "note"
    assert {name for name in report.trouble() if name.startswith("rights.")} == {kind}
    assert report.evidence(kind).startswith(f"as app: {word}: ")

    apply(report.the(kind)["fix"], server.url)
    assert kind not in diagnose(tmp_path, mine).ids()


def test_what_was_tried_leaves_nothing_behind_and_takes_nothing_away(
    server: RedisServer, publisher: Publisher, tmp_path: Path
) -> None:
    diagnose(tmp_path, journaled(server.url))
    assert publisher.client.keys("*") == []
    publisher.client.zadd(INDEX, {"somebody": 1.0})
    diagnose(tmp_path, journaled(server.url))
    assert publisher.client.zrange(INDEX, 0, -1) == [b"somebody"]


# Two processes of one worker.


def test_two_processes_of_one_worker_at_a_time_are_no_finding(server: RedisServer, tmp_path: Path) -> None:
    with subscribed(server.url), subscribed(server.url):
        report = diagnose(tmp_path, topology(server.url))
    assert report.trouble() == {"daemon.away"}
    assert report.evidence("subscription.there").startswith("worker users: 2 connections (")


def test_a_daemon_with_a_journal_is_in_order_while_one_process_takes_over_from_another(
    server: RedisServer, publisher: Publisher, daemon: MakeDaemon
) -> None:
    run = daemon(journaled(server.url))
    entry = publisher.publish("users:1")
    wait_until(lambda: entry in path_of(run.folder / "state", "users").read_text())
    before = run.pids()
    command = [sys.executable, "-m", "invalidator", "restart", "users", "-c", str(run.file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as restart:
        reports = [diagnosed(run.file)]
        while restart.poll() is None:
            reports.append(diagnosed(run.file))
    wait_until(lambda: len(run.pids()) == 1 and run.pids() != before)
    reports.append(diagnosed(run.file))
    assert restart.returncode == 0
    assert [report.trouble() for report in reports if report.trouble()] == []
