"""A server that we are subscribed to becomes another's replica, or its own master, and keeps all its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.subscription.heartbeat import Echoes
from tests.support.ear import DEADLINE, Ear, settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer


@pytest.fixture
def servers(redis_server: MakeRedis) -> tuple[RedisServer, RedisServer]:
    first, second = redis_server(), redis_server("--repl-diskless-sync-delay", "0")
    return first, second


@pytest.fixture
def clients(servers: tuple[RedisServer, RedisServer]) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    with redis.Redis.from_url(servers[0].url) as first, redis.Redis.from_url(servers[1].url) as second:
        yield first, second


def listening(server: RedisServer, cleanup: ExitStack) -> Ear:
    ear = Ear(settings(server.url), echo=True)
    cleanup.callback(ear.close)
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    return ear


def test_each_change_of_its_role_is_a_gap_and_what_its_master_takes_is_heard(
    servers: tuple[RedisServer, RedisServer], clients: tuple[redis.Redis, redis.Redis], cleanup: ExitStack
) -> None:
    ear = listening(servers[0], cleanup)
    clients[1].publish("cache:x", "users:lost")  # publishers are there before the old master is told
    clients[0].replicaof("127.0.0.1", servers[1].port)
    ear.until(lambda: ear.causes == ["start", "role"], deadline=20)
    clients[1].publish("cache:x", "users:1")
    ear.until(lambda: [message.payload for message in ear.messages] == [b"users:1"])
    clients[0].replicaof("NO", "ONE")
    ear.until(lambda: ear.causes == ["start", "role", "role"])
    clients[0].publish("cache:x", "users:2")
    ear.until(lambda: len(ear.messages) == 2)


def test_without_looking_at_the_role_what_the_new_master_has_taken_is_lost_without_a_word(
    servers: tuple[RedisServer, RedisServer],
    clients: tuple[redis.Redis, redis.Redis],
    cleanup: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The control for the test above.
    monkeypatch.setattr(Echoes, "_turned", lambda self, by: None)
    ear = listening(servers[0], cleanup)
    assert clients[1].publish("cache:x", "users:lost") == 0
    clients[0].replicaof("127.0.0.1", servers[1].port)
    wait_until(lambda: clients[0].info("replication").get("master_link_status") == "up", deadline=20)
    ear.turn_for(3 * DEADLINE)
    clients[1].publish("cache:x", "users:1")
    ear.until(lambda: ear.messages)
    assert [message.payload for message in ear.messages] == [b"users:1"]
    assert ear.causes == ["start"]
