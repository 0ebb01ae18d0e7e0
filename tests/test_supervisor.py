"""supervision/ from outside: real daemons whose workers are killed, stopped and replaced."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.operating import RESTARTS
from tests.support.stores import publish
from tests.support.topologies import logging as topology
from tests.support.waiting import wait_past, wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis


def test_each_worker_is_a_direct_child_and_a_clean_stop_leaves_none(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    run = daemon(topology(redis_server(), "a", "b", "c"))

    assert len(run.pids()) == 3
    assert run.stop() == 0


def test_a_killed_worker_is_replaced_at_once_and_the_others_stay_as_they_are(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    first, second = run.pids()
    os.kill(first, signal.SIGKILL)
    run.wait_metric(RESTARTS, 1, worker="a", reason="signal")
    run.wait_ready()
    publish(server, "cache:a:x", "users:1")

    run.wait_metric("invalidator_messages_received_total", 1, worker="a")
    assert second in run.pids()
    assert run.metrics().value("invalidator_gaps_total", worker="a", cause="start") == 2


def test_counters_go_on_across_restarts(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    for expected in (1, 2, 3):
        publish(server, "cache:a:x", f"users:{expected}")
        run.wait_metric("invalidator_messages_received_total", expected, worker="a")
        os.kill(run.pids()[0], signal.SIGKILL)
        run.wait_metric(RESTARTS, expected, worker="a")
        run.wait_ready()


def test_a_worker_whose_loop_stands_still_is_killed_and_replaced(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    run = daemon(topology(redis_server(), "a", "b", heartbeat_timeout="1s"))
    stopped, other = run.pids()
    os.kill(stopped, signal.SIGSTOP)
    run.wait_metric(RESTARTS, 1, worker="a", reason="hung")
    run.wait_ready()

    assert stopped not in run.pids()
    assert other in run.pids()


def test_a_stopped_worker_is_left_alone_until_its_heartbeat_is_overdue(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    # The control for the test above: it is the heartbeat's timeout that kills, and nothing else.
    run = daemon(topology(redis_server(), "a", heartbeat_timeout="1h"))
    (stopped,) = run.pids()
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(AssertionError):
        run.wait_metric(RESTARTS, 1, deadline=2, worker="a", reason="hung")
    os.kill(stopped, signal.SIGCONT)
    run.wait_ready()

    assert run.pids() == [stopped]


def test_a_machine_that_stood_still_is_no_reason_to_kill_anybody(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    # A suspended laptop or a paused virtual machine: everybody's heartbeat is old, and nobody hangs.
    run = daemon(topology(redis_server(), "a", "b", heartbeat_timeout="1s"))
    workers = run.pids()
    for pid in (run.pid, *workers):
        os.kill(pid, signal.SIGSTOP)
    wait_past(time.monotonic() + 3)  # three times what a heartbeat may take
    run.signal(signal.SIGCONT)
    wait_until(lambda: "supervisor.held_up" in run.logs(), 5, run.logs)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    run.wait_ready()

    assert run.pids() == workers
    assert run.metrics().value(RESTARTS) == 0


CRASHING = """
    from invalidator import Backend, BackendOptions, PurgeResult, hookimpl

    class Options(BackendOptions):
        pass

    class Crashing(Backend):
        def purge(self, batch):
            return PurgeResult()

    @hookimpl
    def backend_types():
        return {"crashing": Options}

    @hookimpl
    def make_backend(type, options, context):
        if type == "crashing":
            raise RuntimeError("no")
"""


def test_a_worker_that_dies_at_its_start_backs_off_and_leaves_the_others_alone(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "crashing.py"
    plugin.write_text(textwrap.dedent(CRASHING))
    wanted = topology(redis_server(), "good", "bad")
    wanted["plugins"] = [str(plugin)]
    wanted["backends"]["broken"] = {"type": "crashing"}
    wanted["workers"][1]["backends"] = ["broken"]
    run = daemon(wanted, ready=False)
    wait_until(lambda: run.status("/healthz") == 200)
    run.wait_metric(RESTARTS, 3, worker="bad", reason="early")
    metrics = run.metrics()

    assert metrics.value("invalidator_worker_up", worker="good") == 1
    assert metrics.value("invalidator_worker_up", worker="bad") == 0
    assert metrics.value(RESTARTS, worker="good") == 0
    assert run.status("/readyz") == 503
    assert "RuntimeError" in run.logs()
    delays = [line for line in run.logs().splitlines() if "worker.restarting" in line]
    assert all('"delay": 0.0' not in line for line in delays)


@pytest.mark.parametrize("state", ["normal", "stopped", "two of them stopped"])
def test_no_worker_survives_the_supervisors_sigkill(redis_server: MakeRedis, daemon: MakeDaemon, state: str) -> None:
    run = daemon(topology(redis_server(), "a", "b", "c"))
    for pid in {"normal": [], "stopped": run.pids()[-1:], "two of them stopped": run.pids()[:2]}[state]:
        os.kill(pid, signal.SIGSTOP)
    run.signal(signal.SIGKILL)

    wait_until(lambda: not run.survivors(), 1.0, "a worker has outlived its supervisor")


SPINNING = """
    import signal
    from invalidator import hookimpl

    @hookimpl
    def worker_started(worker):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while worker == "a":
            pass
"""


def test_a_worker_that_spins_with_every_signal_blocked_does_not_survive_either(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "spinning.py"
    plugin.write_text(textwrap.dedent(SPINNING))
    run = daemon({**topology(redis_server(), "a", "b"), "plugins": [str(plugin), "log"]}, ready=False)
    wait_until(lambda: run.status("/healthz") == 200)
    run.wait_metric("invalidator_subscribed", 1, worker="b")
    run.signal(signal.SIGKILL)

    wait_until(lambda: not run.survivors(), 1.0, "a worker has outlived its supervisor")


def test_no_worker_is_born_deaf_to_a_signal(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    run = daemon(topology(redis_server(), "a"))
    for pid in (run.pid, *run.pids()):
        assert "SigBlk:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()
