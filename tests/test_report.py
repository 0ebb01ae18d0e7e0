"""supervision/accounts.py and report.py: what workers have said, and the sentences that a person reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from invalidator.channel import Drained, Dropped, HeardOut, LaneReport, Subscription
from invalidator.screen.words import shortcomings
from invalidator.status import Failure, Handover, Lane, Status, Worker
from invalidator.supervision.accounts import MOST_ERRORS, Account, Errors
from invalidator.supervision.report import troubles_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis


def worker(**changes: object) -> Worker:
    sound: dict[str, object] = {"name": "users", "pattern": "u:*", "state": "RUNNING", "subscribed": True}
    return Worker(**(sound | changes))  # type: ignore[arg-type]


def lane(**changes: object) -> Lane:
    return Lane(**({"backend": "edge", "type": "http"} | changes))  # type: ignore[arg-type]


NOON = time.mktime((2026, 11, 23, 12, 3, 0, 0, 0, -1))
REFUSED = Failure(at=NOON, reason="unreachable", detail="connection refused")
FULL = Failure(at=NOON, reason="cursors", detail="No space left on device")
TIRED = Failure(at=NOON, reason="rate_limited")


def test_a_worker_that_runs_and_hears_is_no_trouble() -> None:
    assert list(troubles_of(worker(lanes=(lane(), lane(last_failure=REFUSED))), NOON)) == []


@pytest.mark.parametrize(
    ("sick", "sentence"),
    [
        (
            worker(state="BACKOFF", subscribed=False, next_try=8.0, trouble=Failure(at=NOON, reason="early")),
            "users is BACKOFF (early), next try in 8.0 s",
        ),
        (worker(state="STARTING", subscribed=False), "users is STARTING"),
        (worker(state="STARTING", trouble=FULL), "users is STARTING (cursors: No space left on device)"),
        (
            worker(subscribed=False, trouble=REFUSED),
            "users is not subscribed since 12:03 (unreachable: connection refused)",
        ),
        (
            worker(lanes=(lane(node="cache1:80", breaker="open", breaker_since=NOON, last_failure=REFUSED),)),
            "users → edge cache1:80: breaker open since 12:03 (unreachable: connection refused)",
        ),
        (
            worker(subscribed=False, trouble=Failure(at=NOON, reason="wrong_type", detail="the journal's key holds …")),
            "users is not subscribed since 12:03 (wrong_type: the journal's key holds …)",
        ),
        (
            worker(handover=Handover(state="backoff", reason="reload", trouble=REFUSED, next_try=2.0)),
            "users: its successor has not become ready (unreachable: connection refused), next try in 2.0 s",
        ),
        (
            worker(lanes=(lane(next_try=287.0, last_failure=TIRED, last_purge=1.0),)),
            "users → edge: put off (rate_limited), asked again in 287 s",
        ),
        (
            worker(lanes=(lane(ends={"lost": 3}, node="a"), lane(ends={"lost": 3}, node="b"))),
            "users → edge: 3 invalidations are lost; see its log, and flush it by hand",
        ),
    ],
)
def test_each_trouble_is_one_sentence_on_which_a_person_can_act(sick: Worker, sentence: str) -> None:
    assert list(troubles_of(sick, NOON)) == [sentence]


@pytest.mark.parametrize(
    "well",
    [
        worker(heartbeat="ping", heartbeat_detail="PUBLISH invalidator:echo:*: NOPERM"),
        worker(unheard="publish --wait gets no receipts: NOPERM"),
        worker(delivery="journal", trouble=FULL),
        worker(handover=Handover(state="starting", reason="reload", pid=7)),
        worker(handover=Handover(state="draining", reason="", pid=7)),
        worker(delivery="journal", lanes=(lane(behind=700.0, flush_owed=True),)),
    ],
)
def test_what_a_worker_works_without_or_is_at_makes_no_daemon_a_degraded_one(well: Worker) -> None:
    assert list(troubles_of(well, NOON)) == []


def test_what_has_lasted_for_days_has_its_date() -> None:
    (sentence,) = troubles_of(worker(subscribed=False, trouble=REFUSED), NOON + 3 * 86_400)
    assert "since Nov 23 12:03 (" in sentence


def account() -> tuple[Account, Errors]:
    errors = Errors()
    return Account("users", errors), errors


def ignore(_: object) -> None:
    pass


def test_an_outage_began_when_it_was_first_told_of() -> None:
    told, errors = account()
    told.take(Subscription(at=1.0, live=True), ignore)
    told.take(Subscription(at=5.0, live=False, reason="disconnect", detail="reset"), ignore)
    told.take(Subscription(at=9.0, live=False, reason="unreachable", detail="refused"), ignore)

    assert told.trouble() == Failure(at=5.0, reason="unreachable", detail="refused")
    assert [event.detail for event in errors.latest()] == ["unreachable: refused"], "it is one thing that went wrong"
    told.take(Subscription(at=10.0, live=True), ignore)
    assert told.trouble() is None


def test_what_hinders_a_worker_that_is_subscribed_is_no_outage_and_is_told_all_the_same() -> None:
    told, errors = account()
    told.take(Subscription(at=1.0, live=True, reason="cursors", detail="No space left on device"), ignore)
    assert told.trouble() is None
    assert told.hindrance() == Failure(at=1.0, reason="cursors", detail="No space left on device")
    assert shortcomings(worker(trouble=told.hindrance())) == ["cursors: No space left on device"]
    assert shortcomings(worker(trouble=told.hindrance(), subscribed=False)) == [], "then it is why it is not"
    assert not errors.latest()
    told.take(Subscription(at=1.0, live=True), ignore)
    assert told.hindrance() is None


def test_a_failure_is_an_error_once_and_a_recovery_is_none() -> None:
    told, errors = account()
    failed = LaneReport(backend="edge", breaker="open", breaker_since=2.0, failed_at=2.0, reason="timeout")
    told.take(failed, ignore)
    told.take(LaneReport(backend="edge", failed_at=2.0, reason="timeout"), ignore)

    assert [(event.backend, event.detail) for event in errors.latest()] == [("edge", "timeout")]
    assert told.lanes["edge", ""].breaker == "closed"


def test_what_a_process_says_of_its_end_is_kept() -> None:
    told, _ = account()

    assert (told.heard_out, told.undone) == (False, None), "it has said nothing yet"
    told.take(HeardOut(), ignore)
    told.take(Drained(undone=("edge",)), ignore)
    assert (told.heard_out, told.undone) == (True, ("edge",))


def test_lines_for_a_tap_are_passed_on() -> None:
    told, _ = account()
    seen: list[object] = []
    told.take(Dropped(worker="users", count=3), seen.append)

    assert seen == [Dropped(worker="users", count=3)]


def test_only_the_latest_errors_are_kept_each_kind_once() -> None:
    told, errors = account()
    for second in range(MOST_ERRORS * 3):
        told.take(LaneReport(backend=f"b{second}", failed_at=float(second + 1), reason="timeout"), ignore)
    for second in range(5):
        told.take(LaneReport(backend="b59", failed_at=100.0 + second, reason="timeout"), ignore)

    latest = errors.latest()
    assert len(latest) == MOST_ERRORS
    assert [event.at for event in latest[:2]] == [104.0, 59.0]


def test_a_worker_that_is_stopped_is_said_to_be_silent(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    run = daemon(
        {
            "redis": {"url": redis_server().url, "heartbeat": {"interval": "100ms", "deadline": "300ms"}},
            "supervisor": {"heartbeat_timeout": "60s"},
            "backends": {"said": {"type": "log"}},
            "workers": [{"name": "users", "pattern": "u:*", "backends": ["said"], "on_gap": "ignore"}],
        }
    )
    (pid,) = run.pids()
    os.kill(pid, signal.SIGSTOP)

    def text() -> str:
        return run.get("/").body

    assert "silent" not in text()
    wait_until(lambda: "silent: its process has not turned its loop" in text(), 10, text)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "silent" not in text(), 10, text)


def test_of_two_servers_only_the_one_that_is_away_has_something_waiting(
    redis_server: MakeRedis, memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    source, alive, dead = redis_server(), memcached_server(), memcached_server()
    run = daemon(
        {
            "redis": {"url": source.url},
            "backends": {"objects": {"type": "memcached", "servers": [alive.address, dead.address]}},
            "workers": [{"name": "users", "pattern": "u:*", "backends": ["objects"], "on_gap": "ignore"}],
        }
    )
    dead.stop()
    with redis.Redis.from_url(source.url) as publisher:
        publisher.publish("u:x", "users:1")

    def told() -> dict[str, Lane]:
        command = [sys.executable, "-m", "invalidator", "status", "--json", "-c", str(run.file)]
        done = subprocess.run(command, capture_output=True, check=False)
        (users,) = msgspec.json.decode(done.stdout, type=Status).workers
        return {lane.node: lane for lane in users.lanes}

    def settled() -> bool:
        lanes = told()
        return (lanes[dead.address].pending_here, lanes[alive.address].pending_here) == (1, 0) and bool(
            lanes[alive.address].last_purge
        )

    wait_until(settled, 10, lambda: str(told()))
    assert told()[dead.address].last_purge == 0.0
    assert {lane.pending for lane in told().values()} == {1}, "the backend's, all of its servers together"
