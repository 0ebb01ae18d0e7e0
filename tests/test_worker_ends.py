"""Starts and ends by the clock: ready means heard, a stop under load is short, and nothing outlives its supervisor."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.gated import Gates
    from tests.support.stores import RedisServer

RATE = 2_000


@contextmanager
def load(server: RedisServer) -> Iterator[None]:
    """RATE messages in a second, until the end of the block."""
    over = threading.Event()

    def publish() -> None:
        with redis.Redis.from_url(server.url) as client:
            number = 0
            while not over.wait(0.01):
                with client.pipeline(transaction=False) as pipe:
                    for _ in range(RATE // 100):
                        number += 1
                        pipe.publish("cache:a:x", f"users:{number}")
                    pipe.execute()

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_what_is_published_the_instant_it_is_ready_is_applied(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        run = daemon(gates.topology(server, "a"))
        assert client.publish("cache:a:x", "users:1") == 1
        wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)


def test_a_stop_under_load_is_short_and_clean(redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    with load(server):
        run.wait_metric("invalidator_messages_received_total", RATE // 4)
        began = time.monotonic()
        assert run.stop() == 0

    assert time.monotonic() - began < 1
    assert "lane.abandoned" not in run.logs()


def test_a_stop_with_a_backend_that_hangs_ends_in_time(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a", stop_timeout="1s"))
    gates.close("purge")
    with load(server):
        run.wait_metric("invalidator_pending", 1)
        began = time.monotonic()
        assert run.stop() == 0

    assert time.monotonic() - began < 1.5


def test_a_worker_whose_backend_hangs_does_not_outlive_a_killed_supervisor(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    gates.close("purge")
    with load(server):
        run.wait_metric("invalidator_pending", 1)
        run.signal(signal.SIGKILL)
        wait_until(lambda: not run.survivors(), 1.0, "a worker has outlived its supervisor")
