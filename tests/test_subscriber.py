"""subscriber.py against a real Redis: what arrives, and every way in which it may not have."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.messages import Message
from invalidator.subscription.commands import PING, subscribe_command
from invalidator.subscription.subscriber import Subscriber
from invalidator.testing import RecordingServer
from invalidator.topology.models import RedisSettings
from invalidator.wire.connection import Refused, explain
from tests.support.ear import DEADLINE, INTERVAL, Ear, settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from invalidator.testing.recording import Conversation
    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer


@pytest.fixture
def ear(server: RedisServer) -> Iterator[Ear]:
    ear = Ear(settings(server.url))
    ear.until(lambda: ear.gaps)
    yield ear
    ear.close()


def test_the_first_confirmation_is_a_gap_because_nobody_was_listening_before(ear: Ear) -> None:
    assert [gap.cause for gap in ear.gaps] == ["start"]


def test_every_message_arrives_in_order_and_as_raw_bytes(ear: Ear, client: redis.Redis) -> None:
    for number in range(500):
        client.publish("cache:x", b"\xff%d" % number)
    ear.until(lambda: len(ear.messages) == 500)

    assert ear.messages == [Message(b"cache:x", b"\xff%d" % number) for number in range(500)]


def test_a_burst_is_received_whole(ear: Ear, client: redis.Redis) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(50_000):
        pipe.publish("cache:x", f"users:{number}")
    pipe.execute()
    ear.until(lambda: len(ear.messages) == 50_000, deadline=20)

    assert len(ear.gaps) == 1


def test_what_has_arrived_and_is_not_handed_on_bounds_what_we_vouch_for(ear: Ear, client: redis.Redis) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(20_000):
        pipe.publish("cache:x", f"users:{number}")
    pipe.execute()
    arrived = time.monotonic()
    ear.subscriber._absorb(arrived)
    ear.subscriber._absorb(arrived + 2.0)  # two seconds later the same bytes still wait

    assert ear.subscriber.alive_until() >= arrived
    assert ear.subscriber.current_until() == arrived + DEADLINE
    ear.until(lambda: len(ear.messages) == 20_000)
    assert ear.subscriber.current_until() == ear.subscriber.alive_until()


def test_what_is_held_arrives_later_and_in_order(ear: Ear, client: redis.Redis) -> None:
    for number in range(3):
        client.publish("cache:x", str(number))
    wait_until(lambda: not ear.subscriber.turn(time.monotonic(), hold=True) and ear.subscriber.behind)
    assert ear.subscriber.turn(time.monotonic(), hold=True) == []
    assert ear.subscriber.next_due(time.monotonic()) > 0, "nobody spins meanwhile"
    ear.until(lambda: len(ear.messages) == 3)

    assert [message.payload for message in ear.messages] == [b"0", b"1", b"2"]


def test_a_pattern_without_glob_characters_is_a_plain_subscription(server: RedisServer, client: redis.Redis) -> None:
    ear = Ear(settings(server.url), "cache:one")
    ear.until(lambda: ear.gaps)
    client.publish("cache:one", "users:1")
    ear.until(lambda: ear.messages)

    assert client.pubsub_numpat() == 0
    ear.close()


def test_a_killed_connection_is_one_gap_and_messages_flow_again(ear: Ear, client: redis.Redis) -> None:
    assert client.client_kill_filter(_type="pubsub") == 1
    ear.until(lambda: len(ear.gaps) == 2)
    client.publish("cache:x", "after")
    ear.until(lambda: ear.messages)

    assert ear.gaps[1].cause == "disconnect"
    assert ear.gaps[1].began <= ear.gaps[1].ended


def test_a_redis_that_is_away_for_many_attempts_is_one_gap(ear: Ear, server: RedisServer) -> None:
    server.kill()
    ear.until(lambda: ear.subscriber._attempts >= 4)
    server.start()
    ear.until(lambda: len(ear.gaps) == 2)

    assert [gap.cause for gap in ear.gaps] == ["start", "disconnect"]


def test_a_silent_redis_is_found_within_the_deadline_after_its_last_byte(ear: Ear, server: RedisServer) -> None:
    server.stop()
    heard = ear.subscriber._silence.last_byte
    ear.until(lambda: ear.subscriber.state != "live", deadline=5)
    found = time.monotonic()
    server.cont()
    ear.until(lambda: len(ear.gaps) == 2)

    assert DEADLINE <= found - heard <= DEADLINE + 0.5
    assert ear.gaps[1].cause == "deadline"
    assert ear.gaps[1].began == heard


def test_an_idle_connection_is_kept_alive_by_pings_and_is_no_gap(ear: Ear) -> None:
    ear.turn_for(2.5 * DEADLINE)

    assert ear.subscriber.state == "live"
    assert len(ear.gaps) == 1


def test_without_pings_an_idle_connection_would_not_be_known_to_be_alive(
    ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above: what keeps the connection proven is the answer to our own PING.
    monkeypatch.setattr("invalidator.subscription.subscriber.numbered_ping", lambda number: b"")
    ear.until(lambda: ear.subscriber.state != "live", deadline=5)


@pytest.mark.parametrize("asks_first", [True, False])
def test_a_redis_that_loads_its_data_is_one_gap_and_no_flush_with_each_heartbeat(
    redis_server: MakeRedis, monkeypatch: pytest.MonkeyPatch, asks_first: bool
) -> None:
    server = redis_server("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
    if not asks_first:  # the negative control: subscribe, and send a PING only when one is due
        write = Subscriber._write
        late = lambda self, data, now: write(self, data if data == PING else data.removeprefix(PING), now)  # noqa: E731
        monkeypatch.setattr(Subscriber, "_write", late)
    ear = Ear(settings(server.url))
    ear.until(lambda: ear.gaps)
    with redis.Redis.from_url(server.url) as client, redis.Redis.from_url(server.url) as other:
        client.execute_command("DEBUG", "POPULATE", 1_500)
        client.config_set("key-load-delay", 1_000)  # microseconds: it loads for a second and a half
        reload = other.connection_pool.get_connection()
        reload.send_command("DEBUG", "RELOAD")
        ear.until(reload.can_read)
    ear.until(lambda: ear.subscriber.state == "live")
    loaded = len(ear.gaps)
    ear.close()

    assert (loaded == 2) == asks_first, ear.gaps


def test_a_pong_is_no_confirmation(cleanup: ExitStack) -> None:
    def evasive(talk: Conversation) -> None:
        shake_hands(talk)
        talk.read_until(ASKED)
        talk.send(b"+PONG\r\n")
        talk.read_all()

    server = cleanup.enter_context(RecordingServer(evasive))
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: ear.subscriber._attempts >= 2)

    assert ear.gaps == []
    ear.close()


def test_a_wrong_password_is_tried_for_ever_and_the_file_is_read_each_time(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server(password="right")
    password = tmp_path / "password"
    password.write_text("wrong\n")
    ear = Ear(settings(server.url.replace(":right@", ""), password_file=password))
    ear.until(lambda: ear.subscriber._refused_us)
    ear.subscriber._due = float("inf")  # it would wait for up to half a minute now, and does not
    password.write_text("right\n")
    ear.until(lambda: ear.gaps)
    ear.close()


def test_a_password_that_is_replaced_under_a_live_subscription_is_taken_up_as_soon_as_it_is_right(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server(password="first")
    password = tmp_path / "password"
    password.write_text("first\n")
    ear = Ear(settings(server.url.replace(":first@", ""), password_file=password), echo=True)
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "second")
        ear.until(lambda: ear.subscriber.shown.by == "ping")  # the sideline is refused; the subscription lives on
        assert ear.causes == ["start"]
        client.client_kill_filter(_type="pubsub")
    ear.until(lambda: ear.subscriber.trouble[0] == "auth")
    began = time.monotonic()
    password.write_text("second\n")
    ear.until(lambda: len(ear.gaps) == 2 and ear.subscriber.shown.by == "echo")

    assert time.monotonic() - began < 5
    assert ear.causes == ["start", "disconnect"]
    ear.close()


def test_a_redis_that_has_no_room_is_tried_until_it_has(ear: Ear, client: redis.Redis) -> None:
    client.ping()
    client.config_set("maxclients", 1)
    client.client_kill_filter(_type="pubsub")
    ear.until(lambda: "max number of clients" in ear.subscriber.trouble[1])
    ear.until(lambda: ear.subscriber._attempts >= 3)
    client.config_set("maxclients", 100)
    ear.until(lambda: len(ear.gaps) == 2)

    assert ear.causes == ["start", "disconnect"]


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_resolver_that_hangs_holds_up_one_thread_and_nobody_else(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threads("connect")
    resolve, answer = socket.getaddrinfo, threading.Event()

    def hanging(*words: Any, **more: Any) -> Any:
        answer.wait(30)
        return resolve(*words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    ear = Ear(settings(server.url), echo=True)
    ear.turn_for(1.5 * DEADLINE)
    assert threads("connect") == before + 1
    assert ear.longest_turn < DEADLINE
    answer.set()
    ear.until(lambda: ear.gaps)
    ear.close()


def test_a_resolver_that_hangs_beside_a_live_subscription_is_no_gap(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = Ear(settings(server.url), echo=True)
    proven.until(lambda: proven.subscriber.shown.by == "echo")
    resolve, answer = socket.getaddrinfo, threading.Event()

    def hanging(*words: Any, **more: Any) -> Any:
        answer.wait(30)
        return resolve(*words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    proven.until(lambda: proven.subscriber.shown.by == "ping")  # the sideline cannot connect again
    proven.turn_for(DEADLINE)
    assert proven.longest_turn < DEADLINE
    answer.set()
    proven.until(lambda: proven.subscriber.shown.by == "echo")
    assert proven.causes == ["start"]
    proven.close()


def test_a_server_that_accepts_nobody_holds_nobody_up() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # all that its queue has room for
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        ear = Ear(settings(f"redis://127.0.0.1:{full.getsockname()[1]}/0"), echo=True)
        ear.until(lambda: ear.subscriber._attempts >= 2)
        assert ear.longest_turn < DEADLINE
        assert ear.gaps == []
        ear.close()


def test_a_stopped_redis_that_is_connected_to_holds_nobody_up(server: RedisServer) -> None:
    server.stop()
    ear = Ear(settings(server.url), echo=True)
    ear.until(lambda: ear.subscriber._attempts >= 2)
    server.cont()
    ear.until(lambda: ear.gaps)

    assert ear.longest_turn < DEADLINE
    ear.close()


def test_with_the_settings_as_they_come_a_silent_redis_is_found_in_three_seconds(server: RedisServer) -> None:
    ear = Ear(RedisSettings.model_validate({"url": server.url}), echo=True)
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    server.stop()
    heard = ear.subscriber._silence.last_byte
    found = ear.lost()
    server.cont()

    assert 3.0 <= found - heard <= 3.5
    ear.close()


def test_a_refusal_for_want_of_a_password_is_told_from_others() -> None:
    assert explain(redis.AuthenticationError("WRONGPASS invalid username-password pair")).auth
    assert explain(redis.ResponseError("NOAUTH Authentication required.")).auth
    assert explain(OSError("Connection refused")) == Refused("Connection refused", auth=False)


CONFIRMATION = b"*3\r\n$10\r\npsubscribe\r\n$7\r\ncache:*\r\n:1\r\n"
ASKED = b"PSUBSCRIBE\r\n$7\r\ncache:*\r\n"


def shake_hands(talk: Conversation) -> None:
    """What is said first: the connection's name, and our three questions."""
    talk.read_until(b"SETNAME")
    talk.send(b"+OK\r\n")
    talk.read_until(b"$2\r\nID\r\n")
    talk.send(b"-NOPERM\r\n" * 3)  # INFO, ROLE and CLIENT ID


def scripted(cleanup: ExitStack, *answers: bytes) -> RecordingServer:
    """A Redis that answers the handshake, confirms each subscription, and then sends `answers[n]` on connection n."""

    def script(talk: Conversation) -> None:
        shake_hands(talk)
        talk.read_until(ASKED)
        talk.send(CONFIRMATION + (answers[talk.number] if talk.number < len(answers) else b""))
        talk.read_all()

    return cleanup.enter_context(RecordingServer(script))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (CONFIRMATION, "resubscribed"),
        (b"!garbage\r\n\x00\xff*9999999999\r\n", "disconnect"),
        (b"-ERR something\r\n", "disconnect"),
        (b"*3\r\n$12\r\npunsubscribe\r\n$7\r\ncache:*\r\n:0\r\n", "disconnect"),
        (b"*-1\r\n", "disconnect"),
        (b":1\r\n", "disconnect"),
    ],
)
def test_whatever_should_not_come_is_a_gap(cleanup: ExitStack, answer: bytes, cause: str) -> None:
    server = scripted(cleanup, answer)
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: len(ear.gaps) == 2)

    assert [gap.cause for gap in ear.gaps] == ["start", cause]
    ear.close()


def test_what_arrived_before_the_end_of_a_connection_is_handed_on(cleanup: ExitStack) -> None:
    message = b"*4\r\n$8\r\npmessage\r\n$7\r\ncache:*\r\n$7\r\ncache:x\r\n$1\r\na\r\n"
    server = scripted(cleanup, message * 10_000 + b"-ERR the end\r\n")
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: len(ear.gaps) == 2)

    assert len(ear.messages) == 10_000
    ear.close()


def test_a_large_backlog_of_a_lost_connection_is_handed_on_in_slices(cleanup: ExitStack) -> None:
    # All of it in one turn would keep the worker's loop from beating for so long that it counts as hung.
    message = b"*4\r\n$8\r\npmessage\r\n$7\r\ncache:*\r\n$7\r\ncache:x\r\n$1000\r\n" + b"a" * 1000 + b"\r\n"
    server = scripted(cleanup, message * 10_000)
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: ear.messages)
    arrived = len(ear.messages)

    def has_backlog() -> bool:
        ear.subscriber._absorb(time.monotonic())
        return ear.subscriber.behind > 5_000_000

    wait_until(has_backlog)
    ear.subscriber._lose("disconnect", time.monotonic(), "for the test")
    slices = []
    while ear.subscriber.behind:
        before = len(ear.messages)
        ear.turn()
        slices.append(len(ear.messages) - before)
    gaps = len(ear.gaps)
    ear.until(lambda: len(ear.gaps) == 2)

    assert gaps == 1, "the new connection is heard after the last word of the old one"
    assert len(slices) > 10
    assert max(slices) < 1_000
    assert arrived + sum(slices) >= 5_000
    ear.close()


def test_a_confirmation_that_never_comes_is_given_up_and_tried_again(cleanup: ExitStack) -> None:
    def mute(talk: Conversation) -> None:
        shake_hands(talk)
        talk.read_all()

    server = cleanup.enter_context(RecordingServer(mute))
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: ear.subscriber._attempts >= 2)

    assert ear.gaps == []
    ear.close()


def test_a_pong_of_either_form_is_a_sign_of_life_and_no_more(cleanup: ExitStack) -> None:
    # Not all that speak Redis' protocol answer a subscriber's PING with an array.
    message = b"*4\r\n$8\r\npmessage\r\n$7\r\ncache:*\r\n$7\r\ncache:x\r\n$1\r\na\r\n"
    server = scripted(cleanup, b"+PONG\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n$1\r\n2\r\n" + message)
    ear = Ear(settings(f"redis://{server.address}"))
    ear.until(lambda: ear.messages)

    assert ear.subscriber.state == "live"
    ear.close()


def test_a_connection_that_has_held_for_a_deadline_is_replaced_at_once(server: RedisServer, cleanup: ExitStack) -> None:
    ear = Ear(settings(server.url, backoff={"first": "10ms", "longest": "1000s"}))
    cleanup.callback(ear.close)
    ear.until(lambda: ear.gaps)
    ear.subscriber._attempts = 20  # there was a long outage before
    ear.turn_for(2 * DEADLINE)
    with redis.Redis.from_url(server.url) as client:
        client.client_kill_filter(_type="pubsub")
    ear.until(lambda: ear.causes == ["start", "disconnect"])


def test_an_answer_that_was_swallowed_is_a_gap_and_so_was_what_came_before_it(
    redis_server: MakeRedis, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_server()
    ear = Ear(settings(server.url))
    deaf = Ear(settings(server.url))  # the control: its PINGs have no numbers
    cleanup.callback(ear.close)
    cleanup.callback(deaf.close)
    for one in (ear, deaf):
        one.until(lambda one=one: one.gaps)  # type: ignore[misc]
        one.turn_for(3 * INTERVAL)
        assert one.causes == ["start"]
        if one is deaf:
            monkeypatch.setattr("invalidator.subscription.subscriber.numbered_ping", lambda number: PING)
        one.subscriber.sound_out(time.monotonic())
        assert one.subscriber._link
        with redis.Redis.from_url(server.url) as client:
            client.publish("cache:x", "a")
        wait_until(lambda one=one: b"cache:x" in (one.subscriber._link.read() or b""))  # type: ignore[misc]
        one.turn_for(6 * INTERVAL)
        assert not one.messages
    assert ear.causes == ["start", "deadline"]
    assert deaf.causes == ["start"]


@pytest.mark.parametrize(
    ("pattern", "command"),
    [("cache:*", b"PSUBSCRIBE"), ("cache:x", b"SUBSCRIBE"), ("cache:[ab]", b"PSUBSCRIBE"), ("c\\*", b"PSUBSCRIBE")],
)
def test_only_globs_are_patterns(pattern: str, command: bytes) -> None:
    assert subscribe_command(pattern).split(b"\r\n")[2] == command
