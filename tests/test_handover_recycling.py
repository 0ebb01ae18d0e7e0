"""Make before break by itself: a worker that has heard enough, or has grown, is replaced without a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.gated import Gates
from tests.support.handovers import GAPS, publish
from tests.support.operating import RESTARTS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis

HURRIED = """
    from invalidator.supervision import recycling
    recycling.EVERY = 0.1
"""


def test_a_worker_is_recycled_after_so_many_messages_and_its_sibling_is_not(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    gates, server = Gates(tmp_path, HURRIED), redis_server()
    wanted = gates.topology(server, "a", "b")
    wanted["workers"][0]["max_messages"] = 50
    run = daemon(wanted)
    for channel in ("cache:a:x", "cache:b:x"):
        publish(server, *(f"users:{number}" for number in range(100)), channel=channel)
    run.wait_metric(RESTARTS, 1, worker="a", reason="recycled")
    wait_until(lambda: len(run.pids()) == 2)

    assert run.metrics().value(RESTARTS) == 1
    assert run.metrics().value(GAPS) == 2


def test_a_worker_is_recycled_once_it_has_grown(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    gates = Gates(tmp_path, HURRIED)
    wanted = gates.topology(redis_server(), "a")
    wanted["workers"][0]["max_rss"] = "1MiB"  # less than any process of ours needs
    run = daemon(wanted)
    run.wait_metric(RESTARTS, 1, reason="recycled")
    run.wait_ready()

    assert "bytes resident, max_rss is 1048576" in run.logs()
    assert run.metrics().value(GAPS) == 1
