"""Make before break, seen from outside: the elder works until its successor is ready, whatever happens meanwhile."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from invalidator.control.protocol import Pause, Reload, Restart
from tests.support.control import ask, status
from tests.support.handovers import FLUSHES, GAPS, begin_restart, counted, handover, publish, worker
from tests.support.operating import RESTARTS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.gated import Gates


def test_the_elder_works_until_its_successor_is_ready_and_there_is_no_gap(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    before = counted(run)
    elder, successor = begin_restart(run, gates)
    publish(server, "users:1")
    wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)
    shown = handover(run)
    assert shown is not None
    assert (shown.state, shown.reason, shown.pid) == ("starting", "requested", successor)
    assert (worker(run).pid, status(run).state) == (elder, "running")
    assert run.status("/readyz") == 200
    gates.open("start")
    wait_until(lambda: run.pids() == [successor], why=run.logs)

    wait_until(lambda: handover(run) is None, why=run.logs)
    assert counted(run) == before
    assert run.metrics().value(RESTARTS, worker="a", reason="requested") == 1
    assert run.metrics().value(RESTARTS) == 1


def test_an_elder_whose_backend_hangs_has_it_flushed_by_its_successor_and_no_other(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="1s")
    wanted["backends"]["said"] = {"type": "log"}
    wanted["workers"][0]["backends"] = ["gated", "said"]
    run = daemon(wanted)
    gates.close("purge")
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1, backend="gated")
    (elder,) = run.pids()
    assert ask(run, Restart(workers=("a",))).ok
    run.wait_metric(RESTARTS, 1, worker="a", reason="requested")
    assert run.metrics().value("invalidator_pending", backend="gated") == 1, "the elder's own, which still drains"
    wait_until(lambda: elder not in run.pids(), why=run.logs)
    gates.open("purge")
    run.wait_metric(FLUSHES, 2, backend="gated", cause="start")
    metrics = run.metrics()

    assert metrics.value(FLUSHES, backend="said", cause="start") == 1, "that of the daemon's start"
    assert metrics.value(GAPS, worker="a", cause="start") == 1, "nothing was missed: it was heard, and not purged"
    assert metrics.value("invalidator_targets_total", backend="gated", end="dead") == 1


def test_what_an_elder_could_not_purge_in_time_its_successor_purges_where_a_gap_flushes_nothing(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="1s")
    wanted["workers"][0] |= {"on_gap": "ignore", "flush": None}
    run = daemon(wanted)
    gates.close("purge")
    publish(server, "users:1", "users:2")
    run.wait_metric("invalidator_pending", 2)
    (elder,) = run.pids()
    assert ask(run, Restart(workers=("a",))).ok
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)
    gates.open("purge")

    wait_until(lambda: set(gates.purged()) >= {"users:1", "users:2"}, why=run.logs)
    wait_until(lambda: not list((run.folder / "state").rglob("*.jsonl*")), why=run.logs)


@pytest.mark.parametrize("what", ["stop", "removed", "killed"])
def test_both_processes_end_with_the_worker(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates, what: str
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a", stop_timeout="1s"))
    elder, successor = begin_restart(run, gates)
    began = time.monotonic()
    if what == "stop":
        assert run.stop(5) == 0
    elif what == "killed":
        run.signal(signal.SIGKILL)
        wait_until(lambda: not run.survivors(), 1.0, "a worker has outlived its supervisor")
    else:
        gates.open("start")
        gates.close("start")
        run.write(gates.topology(server, "other", stop_timeout="1s"))
        assert ask(run, Reload()).ok
        wait_until(lambda: not {elder, successor} & set(run.pids()), 5, run.logs)
        gates.open("start")
        run.wait_ready()
    assert time.monotonic() - began < 3


def test_a_second_restart_is_the_same_one_and_a_further_reload_takes_its_place(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a")
    run = daemon(wanted)
    elder, successor = begin_restart(run, gates)
    assert ask(run, Restart(workers=("a",))).ok
    assert set(run.pids()) == {elder, successor}
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    assert ask(run, Reload()).ok
    wait_until(lambda: len(run.pids()) == 2 and successor not in run.pids(), why=run.logs)
    gates.open("start")
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)

    metrics = run.metrics()
    assert metrics.value(RESTARTS, reason="reload") == 1
    assert metrics.value(RESTARTS) == 1


def test_a_backend_that_is_new_is_flushed_and_the_others_are_not(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    wanted = gates.topology(redis_server(), "a")
    run = daemon(wanted)
    wanted["backends"]["said"] = {"type": "log"}
    wanted["workers"][0]["backends"] = ["gated", "said"]
    run.write(wanted)
    assert ask(run, Reload(wait=True)).ok
    metrics = run.metrics()

    assert metrics.value(FLUSHES, backend="gated") == 1, "that of the daemon's start"
    assert metrics.value(FLUSHES, backend="said", cause="start") == 1
    assert metrics.value(GAPS) == 1


def test_a_pause_outlives_the_handover(redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    assert ask(run, Pause(workers=("a",))).ok
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1, worker="a")

    assert gates.purged() == []
    assert worker(run).paused


def test_what_waits_its_time_is_not_hurried_by_a_handover(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a")
    wanted["workers"][0]["backends"] = [{"backend": "gated", "delay": "400ms"}]
    run = daemon(wanted)
    flushed = run.metrics().value(FLUSHES)
    began = time.monotonic()
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1)
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)

    assert time.monotonic() - began >= 0.4
    assert run.metrics().value(FLUSHES) == flushed


def test_what_waits_too_long_is_done_early_and_flushed_once_more(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="500ms")
    wanted["workers"][0]["backends"] = [{"backend": "gated", "rebound": "10m"}]
    run = daemon(wanted)
    publish(server, "users:1")
    run.wait_metric("invalidator_targets_total", 1, end="purged")
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    run.wait_metric(FLUSHES, 2, cause="start")

    assert gates.purged() == ["users:1", "users:1"]
