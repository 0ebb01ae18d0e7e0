"""attendance.py: a worker's key is there while it is, by the server's clock, and nobody else's goes with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.logs import get_logger
from invalidator.pipeline.attendance import Attendance
from invalidator.pipeline.correspondence import Correspondence
from invalidator.pipeline.publishers import Publishers
from invalidator.presence import INDEX, Presence, instance_of, written
from invalidator.slots import clock
from invalidator.topology.models import RedisSettings
from invalidator.wire.sideline import Sideline, sideline_to
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    import redis

    from tests.support.stores import RedisServer

HERE = Presence("host", "users", "1a2b3c4d", "cache:*", ("objects",))

Start = tuple[Attendance, Sideline, Publishers]


@pytest.fixture
def start(server: RedisServer, cleanup: ExitStack) -> Callable[[], Start]:
    def make() -> Start:
        sideline = sideline_to(RedisSettings.model_validate({"url": server.url}), "users", lambda: None)
        cleanup.callback(sideline.close)
        made = Attendance(sideline, HERE.key, written(HERE, {}), 1.0, 3.0, get_logger())
        return made, sideline, Publishers(made, Correspondence(sideline, HERE, lambda: None), sideline)

    return make


def say(made: Attendance, sideline: Sideline, now: float) -> None:
    """Once, at this second, until it has been answered."""
    made.turn(now)

    def answered() -> bool:
        sideline.turn()
        return not made._asking

    wait_until(answered)


def members(client: redis.Redis) -> dict[str, float]:
    listed: Any = client.zrange(INDEX, 0, -1, withscores=True)
    return {name.decode(): score for name, score in listed}


def test_the_key_and_its_name_are_there_and_end_by_themselves(start: Callable[[], Start], client: redis.Redis) -> None:
    made, sideline, _ = start()
    spoken = [made.has_spoken]
    say(made, sideline, clock())
    assert [*spoken, made.has_spoken] == [False, True]
    assert client.get(HERE.key) == written(HERE, {})
    assert 3_000 < client.pttl(HERE.key) <= 10_000
    assert list(members(client)) == [HERE.key]
    assert 0 < client.ttl(INDEX) <= 600
    assert made.trouble == ""


@pytest.mark.parametrize("wrong_by", [-86_400.0, 86_400.0])
def test_entries_are_kept_by_the_servers_clock_not_by_ours(
    start: Callable[[], Start], client: redis.Redis, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    now = clock()
    client.zadd(INDEX, {"gone long ago": time.time() - 3_600, "here": time.time() + 5})
    wall = time.time
    monkeypatch.setattr("invalidator.pipeline.attendance.time.time", lambda: wall() + wrong_by)
    made, sideline, _ = start()
    for later in range(3):
        say(made, sideline, now + later)
    assert set(members(client)) == {HERE.key, "here"}
    assert abs(members(client)[HERE.key] - wall() - 10) < 5


def test_at_a_clean_end_it_is_gone_at_once_but_for_a_successor_in_its_place(
    start: Callable[[], Start], client: redis.Redis
) -> None:
    for has_successor in (True, False):
        made, sideline, publishers = start()
        say(made, sideline, clock())
        publishers.stop(clock() + 5, has_successor=has_successor)
        assert bool(client.exists(HERE.key)) == has_successor
        assert bool(members(client)) == has_successor


def test_a_redis_that_hangs_holds_up_neither_the_loop_nor_the_end(
    start: Callable[[], Start], server: RedisServer
) -> None:
    made, sideline, publishers = start()
    say(made, sideline, clock())
    server.stop()
    try:
        began = clock()
        for later in range(100):
            publishers.turn(began + later)
        publishers.stop(clock() + 5, has_successor=False)
        assert clock() - began < 1
    finally:
        server.cont()


def test_a_refusal_is_said_until_it_is_over(start: Callable[[], Start], client: redis.Redis) -> None:
    client.set(INDEX, "a text of somebody else")
    made, sideline, _ = start()
    now = clock()
    say(made, sideline, now)
    assert "WRONGTYPE" in made.trouble or "wrong kind" in made.trouble
    client.delete(INDEX)
    say(made, sideline, now + 2)
    assert made.trouble == ""


def test_two_daemons_of_a_host_are_told_apart_and_one_is_the_same_after_a_restart() -> None:
    assert instance_of("/etc/a.yaml", "/var/lib/a") == instance_of("/etc/a.yaml", "/var/lib/a")
    assert (
        len({instance_of("/etc/a.yaml", "/var/lib/a"), instance_of("/etc/b.yaml", "/var/lib/a"), instance_of("a")}) == 3
    )
