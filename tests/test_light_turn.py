"""worker.py: messages that come one by one are purged first of all, and what must not wait does not wait for them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.control.client import Client
from invalidator.control.protocol import Pause, Resume
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.pipeline.worker import TENDED_EVERY, Worker
from tests.support.lanes import Inline, Rig
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached
    from tests.support.stores import MemcachedServer, RedisServer

NOW = 1000.0


# One turn, with every part but the lane in its place: each notes that it had its turn.


class Turned:
    def __init__(self, folder: Path) -> None:
        self.rig = Rig(Inline(), folder)
        self.dispatcher = Dispatcher([self.rig.lane], get_logger())
        self.said: list[str] = []
        self.order: Callable[[], None] = lambda: None
        nothing = SimpleNamespace(turn=lambda *_: None)
        self.subscriber = SimpleNamespace(state="live", turn=self._hear, alive_until=lambda: NOW, server="")
        self.subscriber.current_until = lambda: NOW + 1
        self.subscriber.fileno = lambda: None
        delivery = SimpleNamespace(turn=lambda _: [], is_crowded=lambda: False, proven_until=lambda *_: NOW)
        delivery.current_until = lambda until: until
        slots = SimpleNamespace(beat=lambda _: None, subscribed_until=lambda _: None, server=lambda _: None)
        liaison = SimpleNamespace(turn=self._obey, unheard=lambda _: None, orders=SimpleNamespace())
        liaison.fileno = lambda: None
        inheritance = SimpleNamespace(learn=lambda _: None, undone=lambda _: (), may_vouch=True)
        publishers = SimpleNamespace(turn=lambda _: self.said.append("publishers"), trouble="")
        around = SimpleNamespace(liaison=liaison, publishers=publishers, inheritance=inheritance, sideline=nothing)
        events = SimpleNamespace(announce=lambda: None)
        parts: list[Any] = [self.subscriber, None, delivery, self.dispatcher, slots, around, events, get_logger()]
        self.worker = Worker(*parts)
        self.worker._ready = True
        self.worker._collector = nothing  # type: ignore[assignment]

    def _hear(self, now: float, *, hold: bool, looked: bool) -> list[Any]:
        del now, hold, looked
        self.said.append("messages")
        return []

    def _obey(self, *_: object, looked: bool) -> None:
        del looked
        self.said.append("orders")
        self.order()

    def turn(self, woken: Any, now: float) -> list[str]:
        self.said.clear()
        self.worker._woken = woken
        self.worker.turn(now)
        return list(self.said)


@pytest.fixture
def turned(tmp_path: Path) -> Turned:
    made = Turned(tmp_path)
    made.turn("", NOW)
    return made


@pytest.mark.parametrize(("woken", "said"), [("messages", ["messages"]), ("lanes", [])])
def test_what_wakes_again_at_once_is_all_that_is_looked_at(turned: Turned, woken: str, said: list[str]) -> None:
    assert turned.turn(woken, NOW + TENDED_EVERY / 2) == said


@pytest.mark.parametrize("woken", ["messages", "lanes"])
def test_before_long_everything_is_looked_at_and_messages_first(turned: Turned, woken: str) -> None:
    assert turned.turn(woken, NOW + TENDED_EVERY) == ["messages", "orders", "publishers"]


def test_whatever_else_wakes_is_obeyed_first(turned: Turned) -> None:
    assert turned.turn("", NOW) == ["orders", "messages", "publishers"]


def test_a_lost_subscription_is_told_of_in_the_same_turn(turned: Turned) -> None:
    turned.subscriber.state = "waiting"
    assert turned.turn("messages", NOW) == ["messages", "orders", "publishers"]


def test_a_resume_purges_what_has_come_before_anything_is_vouched_for(turned: Turned) -> None:
    turned.dispatcher.pause()
    turned.rig.offer("a")
    backend, vouched = turned.rig.backend, []
    turned.order = turned.dispatcher.resume
    backend.subscribed = lambda until: vouched.append((until, len(backend.batches)))  # type: ignore[method-assign]
    turned.turn("messages", NOW + TENDED_EVERY)
    assert vouched == [(NOW + 1, 1)]


# A whole worker, on which messages rain.


def topology(source: RedisServer, objects: MemcachedServer) -> dict[str, Any]:
    return {
        "redis": {"url": source.url},
        "backends": {"objects": {"type": "memcached", "servers": [objects.address]}},
        "workers": [{"name": "users", "pattern": "cache:users:*", "backends": ["objects"], "on_gap": "ignore"}],
    }


@contextmanager
def rain(source: RedisServer) -> Iterator[None]:
    """One message after the other, each alone, until the end of the block."""
    over = threading.Event()

    def publish() -> None:
        with redis.Redis.from_url(source.url) as client:
            number = 0
            while not over.is_set():
                number += 1
                client.publish("cache:users:x", f"rain:{number % 5000}")

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_orders_a_lost_subscription_and_the_end_are_acted_on_while_messages_come_without_a_pause(
    source: RedisServer, memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, memcached_server()))

    def pending() -> float:
        return run.metrics().value("invalidator_pending")

    with rain(source), redis.Redis.from_url(source.url) as admin, Client(run.control) as client:
        run.wait_metric("invalidator_messages_received_total", 500)
        client.ask(Pause(all=True))
        wait_until(lambda: pending() > 100, 2, run.logs)
        client.ask(Resume(all=True))
        wait_until(lambda: pending() < 100, 2, run.logs)
        assert admin.client_kill_filter(_type="pubsub") == 1
        run.wait_metric("invalidator_gaps_total", 1, 2, cause="disconnect")
        wait_until(admin.pubsub_numpat, 2, run.logs)
        began = time.monotonic()
        assert run.stop() == 0
    assert time.monotonic() - began < 1.5
    assert "lane.abandoned" not in run.logs()
