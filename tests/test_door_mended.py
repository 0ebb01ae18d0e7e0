"""door.py: the control socket's file is there again by itself once somebody has taken it away."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from invalidator.control.client import Client
from invalidator.control.protocol import Ping
from tests.support.topologies import logging as topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon

# A plugin in the supervisor, which sets how often it looks.
LOOKING = """
from invalidator import hookimpl
from invalidator.doors import door

@hookimpl
def topology_applied(topology):
    door.LOOK_SECONDS = {seconds}
"""


def robbed(redis_server: MakeRedis, daemon: MakeDaemon, folder: Path, seconds: float) -> Daemon:
    """A daemon that looks so often, and whose socket's file has just been taken away."""
    plugin = folder / "looking.py"
    plugin.write_text(LOOKING.format(seconds=seconds))
    run = daemon({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    run.control.unlink()
    return run


def test_a_control_socket_that_was_deleted_is_there_again(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = robbed(redis_server, daemon, tmp_path, 0.1)
    workers = run.pids()
    wait_until(run.control.exists, why=run.logs)
    with Client(run.control) as client:
        assert client.ask(Ping(), 10).ok

    assert run.control.stat().st_mode & 0o777 == 0o600
    assert run.pids() == workers
    assert run.logs().count("door.reopened") == 1
    assert run.stop() == 0
    assert not run.control.exists()


def test_while_another_is_in_its_place_that_is_said_once_and_the_other_stays(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = robbed(redis_server, daemon, tmp_path, 0.1)
    wait_until(run.control.exists, why=run.logs)
    run.control.unlink()
    run.control.mkdir()
    wait_until(lambda: "door.gone" in run.logs(), why=run.logs)
    run.control.rmdir()
    wait_until(run.control.is_socket, why=run.logs)

    assert run.logs().count("door.gone") == 1


def test_without_a_look_it_would_stay_away(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    run = robbed(redis_server, daemon, tmp_path, 3600.0)
    (worker,) = run.pids()
    os.kill(worker, signal.SIGKILL)  # so that the loop has turned
    run.wait_metric("invalidator_worker_restarts_total", 1)
    wait_until(lambda: run.status("/readyz") == 200, why=run.logs)

    assert not run.control.exists()
