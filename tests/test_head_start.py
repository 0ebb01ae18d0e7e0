"""A worker's subscription comes before all else that it is made of: what is published meanwhile waits in its socket."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import redis

from tests.support.ear import DEADLINE, Ear, settings
from tests.support.gated import Gates
from tests.support.waiting import free_port, wait_past, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.conftest import MakeDaemon, MakeRedis

RECEIVED = "invalidator_messages_received_total"
AMPLE = 10.0
WITHOUT = """
from invalidator.subscription.subscriber import Subscriber
Subscriber.head_start = lambda self, now, patience: (FOLDER / "left-out").touch()
"""


def test_a_worker_hears_while_its_backends_are_still_being_made(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    server, gates = redis_server(), Gates(tmp_path)
    gates.close("start")
    run = daemon(gates.topology(server, "a"), ready=False)
    with redis.Redis.from_url(server.url) as client:
        wait_until(client.pubsub_numpat, 20, run.logs)
        assert client.publish("cache:a:x", "users:42") == 1
    assert run.status("/readyz") == 503
    assert run.metrics().value("invalidator_subscribed", worker="a") == 0
    gates.open("start")
    run.wait_ready()

    assert run.wait_metric(RECEIVED, 1) == 1


def test_without_the_head_start_what_is_published_meanwhile_is_heard_by_nobody(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    # The control for the test above.
    server, gates = redis_server(), Gates(tmp_path, WITHOUT)
    gates.close("start")
    run = daemon(gates.topology(server, "a"), ready=False)
    wait_until((tmp_path / "left-out").exists, 20, run.logs)
    with redis.Redis.from_url(server.url) as client:
        assert client.publish("cache:a:x", "users:42") == 0
    gates.open("start")
    run.wait_ready()

    assert run.metrics().value(RECEIVED) == 0


def test_a_resolver_that_hangs_costs_a_head_start_no_more_than_its_patience(
    redis_server: MakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, resolve, answer = redis_server(), socket.getaddrinfo, threading.Event()

    def hanging(*words: Any, **more: Any) -> Any:
        answer.wait(30)
        return resolve(*words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    ear = Ear(settings(server.url))
    began = time.monotonic()
    ear.subscriber.head_start(began, 0.05)

    assert time.monotonic() - began < DEADLINE
    assert ear.subscriber.state == "connecting"
    answer.set()
    ear.until(lambda: ear.gaps)
    ear.close()


def test_a_redis_that_is_down_ends_a_head_start_at_once() -> None:
    ear = Ear(settings(f"redis://127.0.0.1:{free_port()}/0"))
    began = time.monotonic()
    ear.subscriber.head_start(began, AMPLE)

    assert time.monotonic() - began < AMPLE / 2
    assert ear.subscriber.trouble[0] == "unreachable"
    wait_until(lambda: all(thread.name != "connect" for thread in threading.enumerate()))  # it has yet to wake the ear
    ear.close()


def test_a_start_that_takes_longer_than_the_deadline_is_no_second_gap(redis_server: MakeRedis) -> None:
    ear = Ear(settings(redis_server().url), echo=True)
    ear.subscriber.head_start(time.monotonic(), AMPLE)
    assert ear.subscriber.state == "confirming"
    wait_past(time.monotonic() + 1.5 * DEADLINE)  # what else a start may have to do
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    ear.turn_for(DEADLINE)

    assert ear.causes == ["start"]
    ear.close()
