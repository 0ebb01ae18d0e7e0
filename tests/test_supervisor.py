"""supervision/ from outside: real daemons whose workers are killed, stopped and replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.topologies import logging as topology
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

RESTARTS = "invalidator_worker_restarts_total"


def publish(server: RedisServer, channel: str, payload: str) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.publish(channel, payload))


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
    asleep_until = time.monotonic() + 3
    wait_until(lambda: time.monotonic() > asleep_until)
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


def test_a_redis_that_is_down_at_the_start_is_waited_for(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    server.kill()
    run = daemon(topology(server, "a"), ready=False)
    wait_until(lambda: run.status("/healthz") == 200)
    wait_until(lambda: "redis.refused" in run.logs(), why=run.logs)

    assert run.status("/readyz") == 503
    server.start()
    run.wait_ready()
    assert run.metrics().value(RESTARTS, worker="a") == 0


def test_readiness_goes_away_with_the_subscription_and_comes_back(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    wanted = topology(server, "a")
    wanted["redis"]["heartbeat"] = {"interval": "100ms", "deadline": "400ms"}
    run = daemon(wanted)
    server.stop()
    wait_until(lambda: run.status("/readyz") == 503, 3)
    assert run.metrics().value("invalidator_subscribed", worker="a") == 0
    server.cont()
    run.wait_ready()

    assert run.metrics().value("invalidator_gaps_total", worker="a", cause="deadline") == 1


def test_a_reload_replaces_what_has_changed_and_keeps_what_has_not(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "kept", "changed", "removed"))
    kept, changed, removed = run.pids()
    wanted = topology(server, "kept", "changed", "added")
    wanted["workers"][1]["window"] = "5ms"
    run.write(wanted)
    run.signal(signal.SIGHUP)
    run.wait_metric("invalidator_subscribed", 1, worker="added")
    run.wait_metric(RESTARTS, 1, worker="changed", reason="reload")
    run.wait_ready()
    wait_until(lambda: len(run.pids()) == 3)

    assert kept in run.pids()
    assert not {changed, removed} & set(run.pids())
    assert run.metrics().value("invalidator_config_last_reload_successful") == 1
    assert not run.metrics().has("invalidator_worker_up", worker="removed")


def test_an_invalid_file_changes_nothing_and_is_reported(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    before = run.pids()
    good = run.file.read_text()
    run.file.write_text("workers: [")
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.metrics().value("invalidator_config_last_reload_successful") == 0)

    assert run.pids() == before
    assert "reload.failed" in run.logs()
    assert run.status("/readyz") == 200
    run.file.write_text(good)
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.metrics().value("invalidator_config_last_reload_successful") == 1)
    assert run.pids() == before


HANGING = """
    import threading
    from invalidator import Backend, BackendOptions, hookimpl

    class Options(BackendOptions):
        pass

    class Hanging(Backend):
        def purge(self, batch):
            threading.Event().wait()

    @hookimpl
    def backend_types():
        return {"hanging": Options}

    @hookimpl
    def make_backend(type):
        return Hanging() if type == "hanging" else None
"""


def hanging(server: RedisServer, tmp_path: Path, **supervisor: Any) -> dict[str, Any]:
    plugin = tmp_path / "hanging.py"
    plugin.write_text(textwrap.dedent(HANGING))
    wanted = topology(server, "a", **supervisor)
    wanted["plugins"] = [str(plugin)]
    wanted["backends"]["stuck"] = {"type": "hanging"}
    wanted["workers"][0]["backends"] = ["stuck", "said"]
    return wanted


def test_a_hanging_backend_costs_the_others_nothing_and_is_counted(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    server = redis_server()
    run = daemon(hanging(server, tmp_path, stop_timeout="1s"))
    for number in range(20):
        publish(server, "cache:a:x", f"users:{number}")
    run.wait_metric("invalidator_targets_total", 20, backend="said", end="purged")

    assert run.metrics().value("invalidator_pending", backend="stuck") == 20
    assert run.stop(deadline=3) == 0
    assert "lane.abandoned" in run.logs()


def test_a_second_signal_stops_at_once(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    server = redis_server()
    run = daemon(hanging(server, tmp_path, stop_timeout="1h"))
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, backend="stuck")
    run.signal(signal.SIGTERM)
    wait_until(lambda: "supervisor.stopping" in run.logs())
    run.signal(signal.SIGINT)

    assert run.wait(deadline=5) == 0


def test_one_signal_more_does_not_make_a_clean_stop_a_death(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.signal(signal.SIGTERM)
    wait_until(lambda: "supervisor.stopped" in run.logs())
    while run.returncode is None:
        run.signal(signal.SIGTERM)

    assert run.wait() == 0


@pytest.mark.parametrize(("first", "code"), [("signals.ignore([SIGTERM])", 0), ("", -signal.SIGTERM)])
def test_the_interpreter_takes_handlers_back_before_a_process_has_ended(first: str, code: int) -> None:
    script = f"""
import os
from signal import SIGTERM
from invalidator import signals

class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 15)

last = Last()
heard = signals.Signals(signals.Waker(), [SIGTERM])
{first}
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code


def test_what_is_pending_is_purged_before_the_worker_ends(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    wanted = topology(server, "a")
    wanted["workers"][0]["window"] = "1h"
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:last")
    run.wait_metric("invalidator_pending", 1, worker="a")

    assert run.stop() == 0
    assert "users:last" in run.logs()


def test_a_stop_during_a_replacement_is_a_stop(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    server = redis_server()
    wanted = hanging(server, tmp_path, stop_timeout="1s")
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, backend="stuck")
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: "reload.done" in run.logs(), why=run.logs)

    assert run.stop(deadline=5) == 0


def test_a_worker_that_is_removed_during_its_replacement_is_gone(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    server = redis_server()
    wanted = hanging(server, tmp_path, stop_timeout="1s")
    wanted["workers"] += topology(server, "other")["workers"]
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, backend="stuck")
    first = run.pids()
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") == 1, why=run.logs)
    del wanted["workers"][0]
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: len(run.pids()) == 1, 5, run.logs)

    assert run.pids() == first[1:]
    run.wait_ready()
    with redis.Redis.from_url(server.url) as client:
        assert client.pubsub_numpat() == 1


def test_a_reload_keeps_the_worker_of_a_plugin_file_that_has_not_changed(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = daemon(hanging(redis_server(), tmp_path))
    before = run.pids()
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") == 1, why=run.logs)
    run.wait_ready()

    assert run.pids() == before
    plugin = tmp_path / "hanging.py"
    plugin.write_text(plugin.read_text() + "# changed\n")
    run.signal(signal.SIGHUP)
    run.wait_metric(RESTARTS, 1, worker="a", reason="reload")


HOOKS_ONLY = """
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        pass
"""


def test_a_reload_replaces_the_workers_of_a_plugin_file_that_has_only_hooks_if_it_has_changed(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "hooks.py"
    plugin.write_text(textwrap.dedent(HOOKS_ONLY))
    run = daemon({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    before = run.pids()
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") == 1, why=run.logs)
    run.wait_ready()

    assert run.pids() == before, "nothing has changed"
    plugin.write_text(plugin.read_text() + "# changed\n")
    run.signal(signal.SIGHUP)
    run.wait_metric(RESTARTS, 1, worker="a", reason="reload")


SLOW_TO_APPLY = """
    import threading
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        if topology.workers[0].name == "late":
            threading.Event().wait(1)
"""


def test_what_a_reload_takes_to_read_is_not_taken_from_what_a_worker_has_to_stop_in(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text(textwrap.dedent(SLOW_TO_APPLY))
    server = redis_server()
    wanted = {**topology(server, "a", stop_timeout="900ms"), "plugins": [str(plugin), "log"]}
    wanted["workers"][0]["window"] = "1h"
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:last")
    run.wait_metric("invalidator_pending", 1, worker="a")
    run.write({**topology(server, "late", stop_timeout="900ms"), "plugins": [str(plugin), "log"]})
    run.signal(signal.SIGHUP)
    wait_until(lambda: "worker.stopped" in run.logs(), why=run.logs)

    assert "users:last" in run.logs()
    assert "worker.killed" not in run.logs()


REFUSING = """
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        if len(topology.workers) > 1:
            raise RuntimeError("one is enough")
"""


def test_a_reload_that_a_plugin_refuses_leaves_the_endpoint_where_it_is(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "refusing.py"
    plugin.write_text(textwrap.dedent(REFUSING))
    server = redis_server()
    run = daemon({**topology(server, "a"), "plugins": [str(plugin), "log"]})
    elsewhere = f"127.0.0.1:{free_port()}"
    run.write({**topology(server, "a", "b", metrics=elsewhere), "plugins": [str(plugin), "log"]})
    run.signal(signal.SIGHUP)
    wait_until(lambda: "one is enough" in run.logs(), why=run.logs)

    assert run.status("/readyz") == 200
    assert run.metrics().value("invalidator_config_last_reload_successful") == 0


def test_what_redis_has_sent_before_a_stop_is_purged(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    replica = redis_server()
    wanted = topology(server, "a")
    wanted["backends"]["replica"] = {"type": "redis", "url": replica.url}
    wanted["workers"][0]["backends"] = ["replica"]
    run = daemon(wanted)
    count = 60_000
    with redis.Redis.from_url(replica.url) as client, redis.Redis.from_url(server.url) as source:
        client.mset({f"users:{number}": "old" for number in range(count)})
        pipe = source.pipeline(transaction=False)
        for number in range(count):
            pipe.publish("cache:a:x", f"users:{number}")
        assert pipe.execute() == [1] * count
        assert run.stop() == 0

        assert client.dbsize() == 0, run.logs()


def test_what_a_stop_leaves_is_dead_lettered_when_no_flush_will_follow(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server, replica = redis_server(), redis_server()
    wanted = topology(server, "a")
    wanted["backends"]["replica"] = {"type": "redis", "url": replica.url}
    wanted["workers"][0] |= {
        "backends": ["replica"],
        "on_gap": "flush",
        "flush": {"prefix": "users:"},
        "flush_on_start": False,
    }
    run = daemon(wanted)
    replica.kill()
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_purge_attempts_failed_total", 1, backend="replica")
    assert run.stop() == 0

    assert "users:1" in (run.folder / "state" / "dead-letters" / "a.replica.jsonl").read_text()


def test_a_metrics_address_that_is_taken_is_said_with_what_to_do(
    redis_server: MakeRedis, daemon: MakeDaemon, daemon_exit: Callable[[Daemon], int]
) -> None:
    server = redis_server()
    first = daemon(topology(server, "a"))
    second = daemon(topology(server, "a", metrics=first.address), ready=False)

    assert daemon_exit(second) == 69, "it may be free again in a moment: the configuration is not wrong"
    assert f"supervisor.metrics: cannot listen on {first.address}: Address already in use; choose" in second.logs()


@pytest.mark.parametrize("address", ["192.0.2.1:9469", "a..b:9469", "unix:/nowhere/m.sock", f"unix:/{'x' * 200}"])
def test_a_metrics_address_that_can_never_work_is_a_wrong_configuration(
    redis_server: MakeRedis, daemon: MakeDaemon, daemon_exit: Callable[[Daemon], int], address: str
) -> None:
    run = daemon(topology(redis_server(), "a", metrics=address), ready=False)

    assert daemon_exit(run) == 78
    assert f"supervisor.metrics: cannot listen on {address}: " in run.logs()
    assert ": None;" not in run.logs()


def test_a_metrics_address_on_a_unix_socket_survives_a_sigkill(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    path = tmp_path / "m.sock"
    wanted = topology(redis_server(), "a", metrics=f"unix:{path}")
    first = daemon(wanted, ready=False)
    wait_until(lambda: "supervisor.ready" in first.logs(), why=first.logs)
    first.signal(signal.SIGKILL)
    first.wait()
    assert path.is_socket()
    second = daemon(wanted, ready=False)
    wait_until(lambda: "supervisor.ready" in second.logs(), why=second.logs)

    assert second.stop() == 0
    assert not path.exists()


SIGNALLED_WHILE_IT_IS_READ = """
    import os, pathlib, signal
    from invalidator import hookimpl

    @hookimpl
    def worker_started(worker):
        pass

    mark = pathlib.Path(__file__).with_suffix(".mark")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.{name})
"""


def signalled_early(server: RedisServer, folder: Path, name: str) -> dict[str, Any]:
    plugin = folder / "early.py"
    plugin.write_text(textwrap.dedent(SIGNALLED_WHILE_IT_IS_READ.format(name=name)))
    return {**topology(server, "a"), "plugins": [str(plugin), "log"]}


def test_a_reload_that_is_asked_for_during_the_start_is_done_after_it(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = daemon(signalled_early(redis_server(), tmp_path, "SIGHUP"))

    wait_until(lambda: "reload.done" in run.logs(), why=run.logs)
    before = run.logs().count("reload.done")
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") > before, why=run.logs)


def test_a_daemon_that_is_told_to_end_during_the_start_ends(
    redis_server: MakeRedis, daemon: MakeDaemon, daemon_exit: Callable[[Daemon], int], tmp_path: Path
) -> None:
    run = daemon(signalled_early(redis_server(), tmp_path, "SIGTERM"), ready=False)

    assert daemon_exit(run) == -signal.SIGTERM


def test_no_worker_is_born_deaf_to_a_signal(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    run = daemon(topology(redis_server(), "a"))
    for pid in (run.pid, *run.pids()):
        assert "SigBlk:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()


def test_a_state_directory_that_cannot_be_used_is_said_at_the_start_and_stops_nobody(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    run = daemon(topology(redis_server(), "a", state_dir=str(tmp_path / "file" / "state")))
    (said,) = [line for line in run.logs().splitlines() if "state_dir.unusable" in line]

    assert '"level": "warning"' in said
    assert "Not a directory" in said
    assert "dead letters would be lost" in said


def test_a_state_directory_that_can_be_used_is_there_from_the_start(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    state = tmp_path / "new" / "state"
    run = daemon(topology(redis_server(), "a", state_dir=str(state)))

    assert "state_dir.unusable" not in run.logs()
    assert [path.name for path in state.rglob("*")] == ["dead-letters"]


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_no_connection_takes_the_place_of_a_closed_stderr(
    redis_server: MakeRedis, daemon: MakeDaemon, closed: str
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"), closed=closed)
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_targets_total", 1, end="purged")

    for pid in (run.pid, *run.pids()):
        assert os.readlink(f"/proc/{pid}/fd/2") == os.devnull  # noqa: PTH115


@pytest.fixture
def daemon_exit() -> Callable[[Daemon], int]:
    return lambda run: run.wait(10)
