"""`restart`, `pause` and `resume`: what is asked of one worker, against real daemons."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main
from tests.support.operating import status_of, topology
from tests.support.stores import publish
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.operating import Tell


def test_a_restart_replaces_the_process_and_waits_for_the_new_one(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    run = daemon(topology(redis_server(), "a", "b"))
    first, second = run.pids()

    assert tell(run, "restart", "a") == (0, "restarted: a\n", "")
    assert run.status("/readyz") == 200
    assert first not in run.pids()
    assert second in run.pids()
    assert status_of(run, tell).workers[0].restarts == {"requested": 1}
    assert run.metrics().value("invalidator_worker_restarts_total", worker="a", reason="requested") == 1
    assert tell(run, "restart", "a", "--no-wait") == (0, "restarting: a\n", "")


def test_a_restart_that_does_not_come_up_ends_with_1_and_says_why(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    server.kill()
    code, _, err = tell(run, "restart", "a", "--timeout", "0.5")

    assert code == 1
    assert err.startswith("waited 0.5 s in vain: a is ")


def test_a_pause_stops_purging_and_not_reading_and_outlives_restart_and_reload(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    assert tell(run, "pause", "a") == (0, "paused: a\n", "")
    wait_until(lambda: status_of(run, tell).workers[0].paused)
    assert tell(run, "restart", "a")[0] == 0
    wanted = topology(server, "a")
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    assert tell(run, "reload", "--wait")[0] == 0
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, worker="a")
    assert run.metrics().value("invalidator_targets_total", worker="a", end="purged") == 0
    assert tell(run, "resume", "--all") == (0, "resumed: a\n", "")
    run.wait_metric("invalidator_targets_total", 1, worker="a", end="purged")


def test_a_lane_that_owes_a_flush_says_so(redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell) -> None:
    wanted = topology(redis_server(), "a")
    wanted["workers"][0] |= {"on_gap": "flush", "flush": {"all": True}}
    run = daemon(wanted)

    def owed() -> bool:
        return status_of(run, tell).workers[0].lanes[0].flush_owed

    assert not owed()
    assert tell(run, "pause", "a")[0] == 0
    os.kill(run.pids()[0], signal.SIGKILL)
    wait_until(owed)
    assert tell(run, "resume", "a")[0] == 0
    wait_until(lambda: not owed())


@pytest.mark.parametrize("command", ["restart", "pause", "resume", "tap"])
def test_a_worker_that_is_not_there_is_said_with_who_is(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell, command: str
) -> None:
    run = daemon(topology(redis_server(), "users", "orders"))

    assert tell(run, command, "user") == (
        2,
        "",
        "there is no worker 'user' — did you mean 'users'?; there are users, orders\n",
    )


@pytest.mark.parametrize("arguments", [["pause"], ["resume", "a", "--all"], ["restart"]])
def test_who_says_no_worker_or_says_it_twice_is_asked(arguments: list[str]) -> None:
    assert main(arguments) == 2
