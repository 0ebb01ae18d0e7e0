"""supervision/ from outside: a stop purges what is pending, and waits for nobody longer than it was told to."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.hanging import hanging
from tests.support.stores import publish
from tests.support.topologies import logging as topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis


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
