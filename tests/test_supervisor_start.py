"""supervision/ from outside: a start without its Redis, its address, its state directory, or a moment's peace."""

from __future__ import annotations

import os
import signal
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.operating import RESTARTS
from tests.support.stores import publish
from tests.support.topologies import logging as topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer


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
