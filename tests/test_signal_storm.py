"""supervisor.py: signals that come faster than they can be obeyed keep it from nothing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.support.topologies import logging as topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon

STORM = 50
# A plugin in the supervisor: it is asked at the start, and then while the file is read again.
HURRIED = """
import os, signal
from pathlib import Path
from invalidator import hookimpl
{more}

@hookimpl
def topology_applied(topology):
    asked = Path({asked!r})
    with asked.open("a") as file:
        file.write(".")
    if asked.stat().st_size == 2:
        for _ in range({storm}):
            os.kill(os.getpid(), signal.SIGHUP)
"""
ONE_READING_FOR_EACH = """
from invalidator.supervision import supervisor
supervisor._to_obey = lambda came: came
"""


def hurried(redis_server: MakeRedis, daemon: MakeDaemon, folder: Path, more: str = "") -> Daemon:
    """A daemon that is told to reload again and again while it reloads."""
    plugin = folder / "hurried.py"
    plugin.write_text(HURRIED.format(asked=str(folder / "asked"), storm=STORM, more=more))
    run = daemon({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    run.signal(signal.SIGHUP)
    return run


def test_one_reading_answers_every_hup_that_came_before_it(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = hurried(redis_server, daemon, tmp_path)
    wait_until(lambda: run.logs().count("reload.done") == 2, why=run.logs)

    assert run.stop() == 0
    assert run.logs().count("reload.done") == 2, "the one that was asked for, and one for all of the storm"


def test_without_that_each_would_have_one_of_its_own(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = hurried(redis_server, daemon, tmp_path, ONE_READING_FOR_EACH)

    wait_until(lambda: run.logs().count("reload.done") > STORM // 2, why=run.logs)
