"""Lanes that come after others: with threads, with real servers, and at their end."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator import BackendError, Gap, Invalidation, PurgeResult, Target
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import AT_ONCE, Order
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.slots import clock
from invalidator.testing import RecordingServer
from tests.support.lanes import Inline, Rig, Scripted, raising
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator import Batch
    from invalidator.testing import Conversation
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis

EVERYTHING = (Target("all"),)
DELAY = 0.1
LATER = Order(after="objects", delay=DELAY, patience=30.0)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A backend hangs in front of it until it is opened, at the test's end at the latest."""
    event = threading.Event()
    yield event
    event.set()


class Diary:
    """Who was asked when, in the order in which that happened."""

    def __init__(self) -> None:
        self.began: list[tuple[str, float]] = []
        self.ended: list[tuple[str, float]] = []

    def of(self, name: str, before: Callable[[], object] = lambda: None) -> Callable[[Batch], PurgeResult]:
        """An answer that is written down."""

        def answer(_: Batch) -> PurgeResult:
            self.began.append((name, clock()))
            before()
            self.ended.append((name, clock()))
            return PurgeResult()

        return answer

    def names(self) -> list[str]:
        return [name for name, _ in self.began]

    def first(self, name: str) -> float:
        return next(at for who, at in self.began if who == name)

    def done(self, name: str) -> float:
        return next(at for who, at in self.ended if who == name)


def rig(folder: Path, backend: Scripted, name: str = "objects", order: Order = AT_ONCE, **changes: Any) -> Rig:
    policy = Policy("users", name, on_gap=True, flush=EVERYTHING, order=order)
    return Rig(backend, folder / name, replace(policy, **changes))


def dispatch(dispatcher: Dispatcher, *keys: str) -> None:
    dispatcher.dispatch([Invalidation(tuple(Target("key", key) for key in keys))], clock())


def test_the_edge_is_asked_a_delay_after_its_origin_has_answered(tmp_path: Path, gate: threading.Event) -> None:
    diary = Diary()
    origin = rig(tmp_path, Scripted(diary.of("origin", lambda: gate.wait(30))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge", LATER)
    dispatcher = Dispatcher([edge.lane, origin.lane], get_logger())
    dispatch(dispatcher, "a", "b")
    wait_until(lambda: diary.names() == ["origin"])
    assert edge.counts()["pending"] == 2, "what waits for another is pending"
    gate.set()
    edge.wait("purged", 2)
    assert diary.names() == ["origin", "edge"]
    assert diary.first("edge") - diary.done("origin") >= DELAY
    assert edge.adds_up()
    dispatcher.stop(clock() + 5)


def test_without_an_order_the_edge_is_asked_while_its_origin_hangs(tmp_path: Path, gate: threading.Event) -> None:
    # The control for the test above.
    diary = Diary()
    origin = rig(tmp_path, Scripted(diary.of("origin", lambda: gate.wait(30))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge")
    dispatcher = Dispatcher([edge.lane, origin.lane], get_logger())
    dispatch(dispatcher, "a", "b")
    edge.wait("purged", 2)
    assert diary.ended[0][0] == "edge"
    gate.set()
    dispatcher.stop(clock() + 5)


def test_an_origin_of_several_servers_is_waited_for_as_a_whole(tmp_path: Path, gate: threading.Event) -> None:
    diary = Diary()
    quick = rig(tmp_path, Scripted(diary.of("quick")))
    slow = rig(tmp_path, Scripted(diary.of("slow", lambda: gate.wait(30))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge", LATER)
    dispatcher = Dispatcher([quick.lane, slow.lane, edge.lane], get_logger())
    dispatch(dispatcher, "a")
    quick.wait("purged", 1)
    assert "edge" not in diary.names()
    gate.set()
    edge.wait("purged", 1)
    assert diary.first("edge") - diary.done("slow") >= DELAY
    dispatcher.stop(clock() + 5)


def test_a_chain_goes_from_its_first_to_its_last(tmp_path: Path) -> None:
    diary = Diary()
    names = ["a", "b", "c", "d"]
    orders = [AT_ONCE, *(Order(after=name, delay=0.02, patience=30.0) for name in names)]
    rigs = [rig(tmp_path, Scripted(diary.of(name)), name, order) for name, order in zip(names, orders, strict=False)]
    dispatcher = Dispatcher([each.lane for each in reversed(rigs)], get_logger())
    dispatch(dispatcher, "key")
    rigs[-1].wait("purged", 1)
    assert diary.names() == names
    dispatcher.stop(clock() + 5)


def turns(dispatcher: Dispatcher, until: Callable[[], object]) -> None:
    """The worker's loop, as far as lanes without a thread need it."""

    def turn() -> object:
        if dispatcher.next_due(clock()) == 0.0:
            dispatcher.turn()
        return until()

    wait_until(turn)


@pytest.mark.parametrize(("first", "second"), [(Inline, Scripted), (Scripted, Inline), (Inline, Inline)])
def test_memory_may_go_first_or_come_after(tmp_path: Path, first: type[Scripted], second: type[Scripted]) -> None:
    diary = Diary()
    origin = rig(tmp_path, first(diary.of("origin")))
    edge = rig(tmp_path, second(diary.of("edge")), "edge", LATER)
    dispatcher = Dispatcher([edge.lane, origin.lane], get_logger())
    dispatch(dispatcher, "a")
    turns(dispatcher, lambda: edge.ended("purged"))
    assert diary.names() == ["origin", "edge"]
    assert diary.first("edge") - diary.done("origin") >= DELAY
    if second is Inline:
        assert edge.changes, "the worker's loop was woken to look at it"
    dispatcher.stop(clock() + 5)


def test_an_origin_that_is_away_holds_the_edge_for_so_long_and_no_longer(tmp_path: Path) -> None:
    diary = Diary()
    origin = rig(tmp_path, Scripted(raising(BackendError("unreachable"))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge", Order(after="objects", delay=0.05, patience=0.2))
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    began = clock()
    dispatch(dispatcher, "a")
    edge.wait("purged", 1)
    assert 0.25 <= diary.first("edge") - began < 5.0
    origin.backend.answer = diary.of("origin")
    edge.wait("purged", 2)
    assert diary.names() == ["edge", "origin", "edge"]
    assert (edge.counts()["received"], edge.counts()["pending"]) == (2, 0)
    dispatcher.stop(clock() + 5)


def test_what_the_origin_has_no_room_for_goes_to_the_edge_all_the_same(tmp_path: Path, gate: threading.Event) -> None:
    origin = rig(tmp_path, Scripted(Diary().of("origin", lambda: gate.wait(30))), on_gap=False, limit=1)
    edge = rig(tmp_path, Scripted(), "edge", LATER)
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    dispatch(dispatcher, "a", "b")
    edge.wait("purged", 1)
    assert [batch.keys for batch in edge.backend.batches] == [("b",)]
    assert origin.ended("dead") == 1
    gate.set()
    dispatcher.stop(clock() + 5)


def test_a_flush_after_a_gap_keeps_the_order(tmp_path: Path, gate: threading.Event) -> None:
    diary = Diary()
    origin = rig(tmp_path, Scripted(diary.of("origin", lambda: gate.wait(30))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge", LATER)
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    dispatcher.flush(Gap("start", 0.0, 0.0), clock())
    wait_until(lambda: diary.names() == ["origin"])
    assert not dispatcher.is_settled()
    gate.set()
    wait_until(dispatcher.is_settled)
    assert diary.names() == ["origin", "edge"]
    assert diary.first("edge") - diary.done("origin") >= DELAY
    assert edge.changes, "the worker waits for it to become ready"
    dispatcher.stop(clock() + 5)


def test_a_lane_whose_origin_ignores_gaps_waits_for_no_flush_of_it(tmp_path: Path) -> None:
    origin = rig(tmp_path, Scripted(), on_gap=False)
    edge = rig(tmp_path, Scripted(), "edge", LATER)
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    dispatcher.flush(Gap("start", 0.0, 0.0), clock())
    wait_until(dispatcher.is_settled, 5)
    assert [batch.cause for batch in edge.backend.batches] == ["start"]
    dispatcher.stop(clock() + 5)


def test_a_stop_purges_what_is_held_without_its_delay_origins_first(tmp_path: Path, gate: threading.Event) -> None:
    diary = Diary()
    origin = rig(tmp_path, Scripted(diary.of("origin", lambda: gate.wait(0.2))))
    edge = rig(tmp_path, Scripted(diary.of("edge")), "edge", Order(after="objects", delay=600.0, patience=600.0))
    dispatcher = Dispatcher([edge.lane, origin.lane], get_logger())
    dispatch(dispatcher, "a")
    began = clock()
    dispatcher.stop(began + 10)
    assert clock() - began < 5.0
    assert diary.names() == ["origin", "edge"]
    assert edge.counts()["pending"] == 0
    assert edge.adds_up()


def test_an_origin_that_hangs_at_the_stop_leaves_the_edge_its_time(tmp_path: Path, gate: threading.Event) -> None:
    origin = rig(tmp_path, Scripted(Diary().of("origin", lambda: gate.wait(30))))
    edge = rig(tmp_path, Scripted(), "edge", LATER)
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    dispatch(dispatcher, "a")
    wait_until(lambda: origin.backend.batches)
    dispatcher.stop(clock() + 0.4)
    assert edge.ended("purged") == 1
    assert [letter["target"] for letter in origin.letters()] == ["a"]


def test_the_counts_add_up_while_both_lanes_work(tmp_path: Path) -> None:
    fates = iter([False, True, False] * 50)

    def moody(_: Batch) -> PurgeResult:
        if next(fates, False):
            raise BackendError("server_error")
        return PurgeResult()

    order = Order(after="objects", delay=0.005, rebound=0.01, patience=0.05)
    origin, edge = rig(tmp_path, Scripted(moody)), rig(tmp_path, Scripted(moody), "edge", order)
    dispatcher = Dispatcher([origin.lane, edge.lane], get_logger())
    for number in range(1_000):
        dispatch(dispatcher, f"key:{number % 100}", f"other:{number}")
        if number % 10 == 0:
            assert edge.adds_up(), edge.counts()
    wait_until(lambda: not edge.counts()["pending"], 30, lambda: str(edge.counts()))
    dispatcher.stop(clock() + 5)
    assert edge.adds_up()
    assert edge.counts()["received"] > 2_000, "each rebound counts"
    assert (edge.ended("dead"), edge.ended("lost")) == (0, 0)


# Real servers.


class Edge:
    """An HTTP cache that only notes when it was asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.server = RecordingServer(self._talk)

    def _talk(self, talk: Conversation) -> None:
        while True:
            head = talk.read_until(b"\r\n\r\n")
            self.asked.append((clock(), head.split(b" ")[1].decode()))
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge()
    with edge.server:
        yield edge


def tiers(source: str, objects: str, edge: Edge, **lane: Any) -> dict[str, Any]:
    return {
        "redis": {"url": source},
        "backends": {
            "objects": {"type": "memcached", "servers": [objects], "timeout": "200ms"},
            "edge": {"type": "http", "targets": [f"http://{edge.server.address}"]},
        },
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["objects", {"backend": "edge", **lane}],
                "on_gap": "ignore",
            }
        ],
    }


def publish(url: str, *payloads: str) -> None:
    with redis.Redis.from_url(url) as client:
        for payload in payloads:
            assert client.publish("cache:users:x", payload) == 1


def test_a_real_edge_is_purged_after_a_real_origin_also_when_that_was_away(
    redis_server: MakeRedis, memcached_server: MakeMemcached, daemon: MakeDaemon, edge: Edge
) -> None:
    source, objects = redis_server(), memcached_server()
    run = daemon(tiers(source.url, objects.address, edge, after="objects", delay="200ms", rebound="300ms"))
    objects.set("users:42", "old")
    objects.stop()
    publish(source.url, "users:42")
    run.wait_metric("invalidator_purge_attempts_failed_total", 1, backend="objects")
    assert edge.asked == []
    assert run.metrics().value("invalidator_pending", backend="edge") == 1
    continued = clock()
    objects.cont()
    run.wait_metric("invalidator_targets_total", 2, backend="edge", end="purged")
    assert objects.get("users:42") is None
    (first, path), (second, again) = edge.asked
    assert path == again == "/users:42"
    assert first - continued >= 0.2
    assert second - first >= 0.3
    assert run.metrics().value("invalidator_targets_received_total", backend="edge") == 2
    assert run.stop() == 0


def test_a_real_edge_without_an_order_is_purged_while_its_origin_is_away(
    redis_server: MakeRedis, memcached_server: MakeMemcached, daemon: MakeDaemon, edge: Edge
) -> None:
    # The control for the test above.
    source, objects = redis_server(), memcached_server()
    run = daemon(tiers(source.url, objects.address, edge))
    objects.stop()
    publish(source.url, "users:42")
    run.wait_metric("invalidator_targets_total", 1, backend="edge", end="purged")
    assert run.metrics().value("invalidator_targets_total", backend="objects", end="purged") == 0
    objects.cont()
    assert run.stop() == 0
