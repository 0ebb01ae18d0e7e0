"""What a daemon says of its subscriptions: proven by an echo, or only by a PING, and why."""

from __future__ import annotations

import io
import json
import signal
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import redis

from invalidator.cli import main
from tests.support.topologies import logging
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon


def status(run: Daemon, *options: str) -> str:
    with redirect_stdout(io.StringIO()) as said:
        main(["status", "-c", str(run.file), *options])
    return said.getvalue()


def worker(run: Daemon, name: str) -> dict[str, Any]:
    return next(each for each in json.loads(status(run, "--json"))["workers"] if each["name"] == name)


def test_status_says_what_proves_a_subscription_and_why_it_is_no_more_than_a_ping(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        rules = ("reset", "on", ">secret", "+@all", "-publish", "allchannels", "allkeys")
        client.execute_command("ACL", "SETUSER", "mute", *rules)
    topology = logging(server, "rich", "poor")
    topology["workers"][1]["redis"] = {"url": server.url.replace("redis://", "redis://mute:secret@")}
    run = daemon(topology)
    wait_until(lambda: worker(run, "rich")["heartbeat"] == "echo")
    wait_until(lambda: worker(run, "poor")["heartbeat"] == "ping")

    assert worker(run, "rich")["heartbeat_detail"] == ""
    assert "PUBLISH invalidator:echo:*: " in worker(run, "poor")["heartbeat_detail"]
    shown = status(run)
    assert "heartbeat ping only: PUBLISH invalidator:echo:*" in shown
    assert shown.count("heartbeat") == 1, "what is as it should be needs no word"
    assert "secret" not in shown + run.logs()


def test_a_worker_beats_while_its_redis_hangs_and_loses_its_subscription_in_time(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    topology = logging(server, "users", heartbeat_timeout="1s")
    topology["redis"]["heartbeat"] = {"interval": "100ms", "deadline": "400ms"}
    run = daemon(topology)
    pids = run.pids()
    wait_until(lambda: worker(run, "users")["heartbeat"] == "echo")
    server.stop()
    run.wait_metric("invalidator_reconnects_total", 0)
    wait_until(lambda: run.metrics().value("invalidator_subscribed") == 0, 2)
    wait_until(lambda: run.metrics().value("invalidator_subscribed") == 0 and "redis.refused" in run.logs(), 5)
    server.cont()
    run.wait_metric("invalidator_gaps_total", 1, cause="deadline")

    assert run.pids() == pids, "nobody was taken for hung, though each attempt waited longer than its beat"
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
