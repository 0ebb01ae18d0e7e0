"""What a daemon costs while nobody publishes: its loops turn when something is due, and most of what is due together.

Turns are counted, not processor time: each is a wait that has ended, which the kernel counts for every thread. They are
measured against the workers' own heartbeats, which Redis counts, so that a busy machine changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.channel import LONGEST_REST
from invalidator.lanes.guarded import VOUCHED_EVERY
from invalidator.supervision.incarnation import rest_of
from invalidator.topology.models import SupervisorSettings
from invalidator_lru.table import LIVENESS
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from tests.conftest import MakeRedis

DELIVERIES = ("pubsub", "journal")
ECHOES = 2
MOST = 10
"""Waits of a loop that end between two echoes: two or three are its own, and some more are for the interpreter, which
another thread has just then. A loop that looks ten times a second whether its cursors have moved has twice as many."""

RESTLESS = """
import sys
from invalidator.supervision import incarnation
incarnation.LONGEST_REST = 0.05
from invalidator.cli import main
sys.exit(main())
"""


class Restless(Daemon):
    """Its workers turn their loops twenty times a second, whether there is something to do or not."""

    program = (sys.executable, "-c", RESTLESS)


class Idle:
    """A daemon with a worker of each delivery, and a Redis of its own that counts their echoes."""

    def __init__(self, run: Daemon, client: redis.Redis, topology: dict[str, Any]) -> None:
        self.run = run
        self.topology = topology
        self._client = client

    def echoes(self) -> int:
        """How many there have been, of all workers."""
        counts: Any = self._client.info("commandstats")
        return int(counts.get("cmdstat_publish", {}).get("calls", 0))

    def wait(self, echoes: int) -> None:
        """For so many more of each worker."""
        last = self.echoes() + echoes * len(DELIVERIES)
        wait_until(lambda: self.echoes() >= last, 30, self.run.logs)

    def waits(self) -> list[int]:
        """Those that have ended: of the supervisor's loop, and of each worker's, which is its process' first thread."""
        return [_waits(pid) for pid in (self.run.pid, *self.run.pids())]


@pytest.fixture
def idle(redis_server: MakeRedis, folder: Callable[[str], Path], cleanup: ExitStack) -> Callable[[type[Daemon]], Idle]:
    def make(kind: type[Daemon]) -> Idle:
        server = redis_server()
        topology: dict[str, Any] = {
            "redis": {"url": server.url},
            "backends": {"said": {"type": "log"}},
            "workers": [
                {
                    "name": delivery,
                    "pattern": f"cache:{delivery}:*",
                    "delivery": delivery,
                    "backends": [{"backend": "said", "on_gap": "ignore"}],
                }
                for delivery in DELIVERIES
            ],
        }
        run = kind(folder("daemon"), topology)
        cleanup.callback(run.close)
        client = cleanup.enter_context(redis.Redis.from_url(server.url))
        return Idle(run.start(ready=False), client, topology)

    return make


def test_the_loops_of_an_idle_daemon_turn_a_few_times_for_each_echo_and_one_that_turns_for_nothing_is_seen(
    idle: Callable[[type[Daemon]], Idle],
) -> None:
    both = idle(Daemon), idle(Restless)
    for one in both:
        one.run.wait_ready()
        one.wait(1)  # what a start still had to do is done
    before = [one.waits() for one in both]
    for one in both:
        one.wait(ECHOES)
    after = [one.waits() for one in both]
    spared, restless = (
        [(b - a) / ECHOES for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)
    )
    assert max(spared) <= MOST, spared
    assert min(restless[1:]) > 1.5 * MOST, restless


def test_an_application_hears_that_all_is_well_long_before_it_would_take_the_worker_for_dead() -> None:
    assert VOUCHED_EVERY <= 0.6 * LIVENESS / 1e9
    assert VOUCHED_EVERY < LONGEST_REST, "the rest of a loop by itself would be too long for that"


def test_a_loop_rests_for_a_small_part_of_the_time_after_which_it_is_taken_for_hung() -> None:
    assert rest_of(SupervisorSettings()) == LONGEST_REST
    assert rest_of(SupervisorSettings(heartbeat_timeout=0.4)) == 0.1


def _waits(pid: int) -> int:
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
