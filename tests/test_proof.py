"""The path, not only the socket: what shows that a subscription hears what is published now, and what finds that not.

Each fault is one that bytes and PINGs do not show; each test has its control beside it, with the guard switched off.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.subscription.audit import Audit
from invalidator.subscription.heartbeat import Echoes
from invalidator.subscription.proof import Proof
from invalidator.wire.identity import ECHO
from tests.support.ear import DEADLINE, INTERVAL, Ear, settings
from tests.support.resp import RespProxy
from tests.support.tls import tls_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer

FOUND = DEADLINE + 0.5
"""Seconds within which a broken path is found; the half second is what a busy machine is given."""
LONGER = DEADLINE + 2 * INTERVAL
"""For the controls: seconds by which it would have been."""


@pytest.fixture
def proxy(cleanup: ExitStack, server: RedisServer) -> RespProxy:
    return cleanup.enter_context(RespProxy(("127.0.0.1", server.port)))


@pytest.fixture
def listen(cleanup: ExitStack) -> Callable[..., Ear]:
    """An Ear that is subscribed, and has heard an echo if it may."""

    def make(url: str, pattern: str = "cache:*", *, by: str = "echo", **more: object) -> Ear:
        ear = Ear(settings(url, **more), pattern, echo=True)
        cleanup.callback(ear.close)
        ear.until(lambda: ear.gaps and ear.subscriber.shown.by == by)
        return ear

    return make


def without_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echoes, "due", lambda self, now: False)


def without_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Audit, "question", lambda self: None)


def without_recount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proof, "subscribe", lambda self: b"")


# What is healthy is left alone.


@pytest.mark.parametrize("pattern", ["cache:*", "cache:one", "*", "invalidator:*"])
def test_echoes_prove_an_idle_subscription_and_nobody_else_hears_of_them(
    server: RedisServer, listen: Callable[..., Ear], pattern: str
) -> None:
    ear = listen(server.url, pattern)
    ear.turn_for(1.5 * DEADLINE)

    assert ear.causes == ["start"]
    assert ear.messages == []
    assert ear.subscriber.shown == ("echo", "")
    assert ear.subscriber._silence.pings <= 3, "an echo that is heard spares a PING"


def test_echoes_go_over_a_unix_socket_and_over_tls(
    redis_server: MakeRedis, listen: Callable[..., Ear], cleanup: ExitStack, tmp_path: Path
) -> None:
    port = tls_server(cleanup, tmp_path)
    ears = [
        listen(redis_server(unix=True).url),
        listen(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem"),
    ]
    for ear in ears:
        ear.turn_for(DEADLINE)
        assert ear.causes == ["start"]
        assert ear.subscriber.shown == ("echo", "")


def test_every_connection_has_a_channel_that_cannot_be_guessed(
    listen: Callable[..., Ear], server: RedisServer, client: redis.Redis
) -> None:
    first, second = listen(server.url), listen(server.url)
    channels = set(client.pubsub_channels(f"{ECHO}*"))

    assert channels == {first.subscriber._channel, second.subscriber._channel}
    assert all(re.fullmatch(r"b'invalidator:echo:[0-9a-f]{32}'", repr(channel)) for channel in channels)


# The path is broken and the socket is not.


def test_an_echo_that_is_not_heard_ends_the_subscription_within_the_deadline(
    proxy: RespProxy, listen: Callable[..., Ear]
) -> None:
    ear = listen(proxy.url)
    proxy.alter = lambda reply: b"" if reply.startswith(b"*3\r\n$7\r\nmessage\r\n") else reply
    began = time.monotonic()
    found = ear.lost()
    proxy.alter = lambda reply: reply
    ear.until(lambda: len(ear.gaps) == 2)

    assert found - began <= FOUND
    assert ear.causes == ["start", "deadline"]
    assert ear.gaps[1].began <= began + INTERVAL, "the Gap begins with the last echo, not with the last byte"


def test_without_echoes_that_path_would_be_taken_for_sound(
    proxy: RespProxy, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_echoes(monkeypatch)
    ear = listen(proxy.url, by="")
    proxy.alter = lambda reply: b"" if reply.startswith(b"*3\r\n$7\r\nmessage\r\n") else reply
    ear.turn_for(LONGER)

    assert ear.subscriber.state == "live"


def test_publishers_that_reach_another_server_are_noticed_though_ours_lives(
    proxy: RespProxy, redis_server: MakeRedis, listen: Callable[..., Ear]
) -> None:
    ear = listen(proxy.url)
    other = redis_server()
    proxy.backend = ("127.0.0.1", other.port)
    began = time.monotonic()
    found = ear.lost()
    ear.until(lambda: len(ear.gaps) == 2)

    # The sideline connects again when a deadline has passed, and at its next echo it is seen who answers.
    assert found - began <= FOUND
    assert ear.causes == ["start", "role"]
    with redis.Redis(port=other.port) as there:
        assert there.publish("cache:x", "a") == 1


def test_without_echoes_the_old_server_would_be_listened_to_for_ever(
    proxy: RespProxy, redis_server: MakeRedis, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_echoes(monkeypatch)
    ear = listen(proxy.url, by="")
    proxy.backend = ("127.0.0.1", redis_server().port)
    ear.turn_for(LONGER)

    assert ear.subscriber.state == "live"


# The subscription is gone and the connection is not.


def unsubscribe(ear: Ear, *words: bytes) -> None:
    """Have Redis forget it, as the connection's own command, whose answer the proxy swallows."""
    ear.subscriber._write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words), 0.0)


def deaf_to_unsubscribing(reply: bytes) -> bytes:
    return b"" if b"unsubscribe\r\n" in reply else reply


@pytest.mark.parametrize("guard", ["audit", "recount"])
def test_a_pattern_that_redis_has_forgotten_is_found_by_either_of_two_ways(
    proxy: RespProxy, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    ear = listen(proxy.url)
    (without_recount if guard == "audit" else without_audit)(monkeypatch)
    proxy.alter = deaf_to_unsubscribing
    unsubscribe(ear, b"PUNSUBSCRIBE", b"cache:*")
    began = time.monotonic()
    found = ear.lost()

    assert found - began <= FOUND
    ear.until(lambda: len(ear.gaps) == 2)
    assert ear.causes[1] == "deadline"
    assert ear.gaps[1].began <= began, "echoes came until the end, and the pattern was gone before"


def test_without_both_nobody_would_miss_the_pattern(
    proxy: RespProxy, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = listen(proxy.url)
    without_audit(monkeypatch)
    without_recount(monkeypatch)
    proxy.alter = deaf_to_unsubscribing
    unsubscribe(ear, b"PUNSUBSCRIBE", b"cache:*")
    ear.turn_for(LONGER)

    assert ear.subscriber.state == "live"
    assert ear.subscriber.shown.by == "echo", "an echo alone does not show that the pattern is there"


def test_a_confirmation_that_is_swallowed_is_not_awaited_for_ever(
    proxy: RespProxy, cleanup: ExitStack, client: redis.Redis
) -> None:
    ear = Ear(settings(proxy.url), echo=True)
    cleanup.callback(ear.close)
    proxy.alter = lambda reply: b"" if b"psubscribe\r\n" in reply else reply
    ear.until(lambda: ear.subscriber.state == "confirming")
    began = time.monotonic()

    def busy() -> bool:  # messages flow meanwhile: bytes are no confirmation
        client.publish("cache:x", "a")
        return ear.subscriber.state != "confirming"

    ear.until(busy)
    assert time.monotonic() - began <= FOUND
    assert ear.gaps == []
    proxy.alter = lambda reply: reply
    ear.until(lambda: ear.gaps)
    assert ear.causes == ["start"]


# Rights.


def acl(client: redis.Redis, *words: str) -> None:
    client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]


def user(client: redis.Redis, name: str, *rules: str) -> str:
    acl(client, "SETUSER", name, "reset", "on", ">secret", *rules)
    return f"redis://{name}:secret@127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (("+@all", "-publish", "&*"), "PUBLISH invalidator:echo:*"),
        (("+@all", "&cache:*"), "SUBSCRIBE invalidator:echo:*"),
    ],
)
def test_a_user_without_the_right_is_proven_by_pings_and_told_why(
    client: redis.Redis, listen: Callable[..., Ear], server: RedisServer, rules: tuple[str, ...], word: str
) -> None:
    ear = listen(user(client, "poor", *rules), by="ping")
    ear.turn_for(1.5 * DEADLINE)

    assert ear.causes == ["start"]
    assert ear.subscriber.shown.detail.startswith(f"{word}:")
    assert ear.subscriber._silence.pings > 1
    server.stop()
    began = time.monotonic()
    found = ear.lost()
    server.cont()
    assert found - began <= FOUND + INTERVAL


def test_the_least_of_rights_is_enough_to_be_subscribed(client: redis.Redis, listen: Callable[..., Ear]) -> None:
    ear = listen(user(client, "least", "+psubscribe", "+ping", "+client|setname", "+select", "&cache:*"), by="ping")
    ear.turn_for(1.5 * DEADLINE)
    client.publish("cache:x", "a")
    ear.until(lambda: ear.messages)

    assert ear.causes == ["start"]


def test_rights_taken_away_and_given_back_are_one_gap(client: redis.Redis, listen: Callable[..., Ear]) -> None:
    ear = listen(user(client, "shop", "+@all", "allchannels"))
    acl(client, "SETUSER", "shop", "resetchannels")
    ear.until(lambda: ear.subscriber.state != "live" and ear.subscriber._attempts >= 3)
    assert ear.subscriber.trouble[0] == "auth"
    assert "NOPERM" in ear.subscriber.trouble[1]
    acl(client, "SETUSER", "shop", "allchannels")
    ear.until(lambda: len(ear.gaps) == 2)
    client.publish("cache:x", "a")
    ear.until(lambda: ear.messages)

    assert ear.causes == ["start", "disconnect"]


def test_a_deleted_user_is_found(client: redis.Redis, listen: Callable[..., Ear]) -> None:
    ear = listen(user(client, "gone", "+@all", "allchannels"))
    acl(client, "DELUSER", "gone")
    began = time.monotonic()
    assert ear.lost() - began <= FOUND


# What is slow is not broken.


def test_a_sideline_that_is_refused_says_nothing_of_the_subscription(
    proxy: RespProxy, listen: Callable[..., Ear], client: redis.Redis
) -> None:
    ear = listen(proxy.url)
    there = proxy.backend
    proxy.backend = ("127.0.0.1", 1)  # new connections: the sideline's next one
    ear.until(lambda: ear.subscriber.shown.by == "ping")
    ear.turn_for(2 * DEADLINE)
    client.publish("cache:x", "a")
    ear.until(lambda: ear.messages)
    assert ear.causes == ["start"]

    proxy.backend = there
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    assert ear.causes == ["start"]


@pytest.mark.parametrize("by_order", [True, False])
def test_a_backlog_of_ours_is_no_broken_path(
    client: redis.Redis,
    listen: Callable[..., Ear],
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    by_order: bool,
) -> None:
    if not by_order:  # the control: judged by time alone, as if the fence had passed when it is asked for
        fenced = Echoes.fenced
        monkeypatch.setattr(Echoes, "fenced", lambda self, ping: fenced(self, 1))
    ear = listen(server.url)
    pipe = client.pipeline(transaction=False)
    for _ in range(20_000):
        pipe.publish("cache:x", b"x" * 100)
    pipe.execute()
    with monkeypatch.context() as slow:
        slow.setattr("invalidator.subscription.subscriber.CHUNKS_AT_ONCE", 0)
        ear.turn_for(1.5 * DEADLINE)
    ear.until(lambda: len(ear.messages) == 20_000)
    ear.turn_for(DEADLINE)

    assert ear.causes[1:] == ([] if by_order else ["deadline"])


@pytest.mark.parametrize("judged", [True, False], ids=["judged", "control"])
def test_a_connection_that_carries_less_than_is_published_is_no_gap_and_vouches_for_nothing(
    monkeypatch: pytest.MonkeyPatch, proxy: RespProxy, listen: Callable[..., Ear], client: redis.Redis, judged: bool
) -> None:
    if not judged:
        monkeypatch.setattr(Proof, "behind_since", float("inf"))
    ear = listen(proxy.url)
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    pace = threading.Event()

    def slowly(reply: bytes) -> bytes:
        if b"pmessage" in reply:
            pace.wait(0.02)
        return reply

    proxy.alter = slowly
    for number in range(200):
        client.publish("cache:x", str(number))
    ear.turn_for(LONGER)

    assert ear.subscriber.alive_until() > time.monotonic(), "bytes come"
    assert (ear.subscriber.current_until() < time.monotonic()) is judged
    pace.set()
    ear.until(lambda: len(ear.messages) == 200 and ear.subscriber.current_until() > time.monotonic())
    assert ear.causes == ["start"]


def test_a_silent_redis_is_found_within_the_deadline_with_echoes_too(
    listen: Callable[..., Ear], server: RedisServer
) -> None:
    ear = listen(server.url)
    server.stop()
    heard = ear.subscriber._silence.last_byte
    found = ear.lost()
    server.cont()

    assert DEADLINE <= found - heard <= FOUND
    assert ear.longest_turn < DEADLINE, "nothing that hangs holds the loop up"


def test_a_process_that_stood_still_finds_its_subscription_in_order(
    listen: Callable[..., Ear], server: RedisServer, client: redis.Redis
) -> None:
    ear = listen(server.url)
    end = time.monotonic() + 2 * DEADLINE
    while time.monotonic() < end:  # it is not turned: nothing is read, asked or judged
        client.publish("cache:x", "a")
    ear.turn_for(DEADLINE)

    assert ear.causes == ["start"]


def test_ten_thousand_messages_a_second_are_no_gap(
    listen: Callable[..., Ear], server: RedisServer, client: redis.Redis
) -> None:
    ear = listen(server.url)
    done = threading.Event()
    sent = 0

    def publish() -> None:
        nonlocal sent
        with redis.Redis.from_url(server.url) as other:
            while not done.wait(0.01):
                pipe = other.pipeline(transaction=False)
                for _ in range(100):
                    pipe.publish("cache:x", "users:42")
                pipe.execute()
                sent += 100

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        ear.turn_for(2.0)
    finally:
        done.set()
        publisher.join()
    ear.until(lambda: len(ear.messages) == sent)

    assert ear.causes == ["start"]
    assert ear.subscriber.shown.by == "echo"
