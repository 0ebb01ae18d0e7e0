"""What the redis backend puts on the wire, and what it makes of the answers: against a server that records."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import BackendError, Batch, Target
from invalidator.testing import Conversation, RecordingServer, saying
from invalidator.testing.hostile import HOSTILE_KEYS
from invalidator_redis.backend import RedisBackend
from invalidator_redis.commands import KeyTemplate, encodable, outermost, packed, unlink
from invalidator_redis.options import RedisOptions
from invalidator_redis.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


def options(url: str, **others: Any) -> RedisOptions:
    return RedisOptions.model_validate({"url": url, **others})


@contextmanager
def backend_for(url: str, **others: Any) -> Iterator[RedisBackend]:
    backend = RedisBackend(options(url, **others))
    try:
        yield backend
    finally:
        backend.close()


def batch(*keys: str, seconds: float = 5.0, **others: Any) -> Batch:
    return Batch(worker="w", backend="b", keys=keys, deadline=time.monotonic() + seconds, **others)


# What a target is called.


@given(
    st.lists(st.text() | st.sampled_from(HOSTILE_KEYS)), st.sampled_from(["{key}", "a:{key}", "{key}\r\n*é", "a{key}b"])
)
def test_the_wire_says_exactly_the_names_of_the_keys(keys: list[str], template: str) -> None:
    good, bad = encodable(keys)
    assert sorted([*good, *bad]) == sorted(keys)
    names = KeyTemplate(template).names(good)
    reader = hiredis.Reader()
    reader.feed(packed([unlink(names), ("PING",)]))
    assert reader.gets() == [b"UNLINK", *(template.replace("{key}", key).encode() for key in good)]
    assert reader.gets() == [b"PING"]
    assert not reader.has_data()


@given(st.lists(st.text("ab:", max_size=5), unique=True))
def test_the_outermost_prefixes_cover_all_and_no_more(prefixes: list[str]) -> None:
    groups = outermost(prefixes)
    assert sorted(covered for group in groups.values() for covered in group) == sorted(prefixes)
    assert all(covered.startswith(outer) for outer, group in groups.items() for covered in group)
    assert not any(a != b and a.startswith(b) for a in groups for b in groups)


def test_a_page_of_a_tag_is_one_transaction() -> None:
    # Otherwise a crash between the two leaves a key without its tag, or takes it for done without its being gone.
    def play_along(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"COUNT\r\n$4\r\n1000\r\n")
        talk.send(b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n")
        asked = talk.read_until(b"EXEC\r\n")
        assert asked == packed([("MULTI",), ("UNLINK", "a", "b"), ("SREM", "tag:t", "a", "b"), ("EXEC",)])
        talk.send(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:2\r\n:2\r\n")
        talk.read_all()

    with (
        RecordingServer(play_along) as server,
        backend_for(f"redis://{server.address}/0", tag_key="tag:{tag}") as backend,
    ):
        assert backend.purge(batch(tags=("t",))).failures == ()


def test_hostile_keys_put_no_unintended_byte_on_the_wire() -> None:
    def play_along(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"the last\r\n")
        talk.send(b":0\r\n")
        talk.read_all()

    with RecordingServer(play_along) as server, backend_for(f"redis://{server.address}/0") as backend:
        failures = backend.purge(batch(*HOSTILE_KEYS, "the last")).failures
        (received,) = server.received
    assert [(failure.target.value, failure.reason, failure.retry) for failure in failures] == [
        ("\ud800", "rejected", False)
    ]
    reader = hiredis.Reader()
    reader.feed(received)
    intended = [key.encode() for key in [*HOSTILE_KEYS, "the last"] if key != "\ud800"]
    assert [reader.gets() for _ in range(4)] == [[b"SELECT", b"0"], [b"PING"], [b"UNLINK", *intended], False]


def test_a_user_and_a_password_go_into_auth_and_nowhere_else() -> None:
    script = saying(b"-WRONGPASS x\r\n" * 3, after=b"PING\r\n")
    with RecordingServer(script) as server, backend_for(f"redis://me:s%3Ame%40@{server.address}/5") as backend:
        with pytest.raises(BackendError, match="wrong user or password") as raised:
            backend.purge(batch("a"))
        (received,) = server.received
    assert received == packed([("AUTH", "me", "s:me@"), ("SELECT", 5), ("PING",)])
    assert (raised.value.reason, raised.value.retry, raised.value.retry_after) == ("auth", True, 5.0)
    assert "s:me" not in repr(raised.value)


# What a server may say instead.


@pytest.mark.parametrize(
    ("reply", "reason", "retry"),
    [
        ("NOAUTH Authentication required.", "auth", True),
        ("WRONGPASS invalid username-password pair", "auth", True),
        ("ERR AUTH <password> called without any password configured", "auth", True),
        ("ERR invalid password", "auth", True),
        ("NOPERM this user has no permissions", "auth", True),
        ("READONLY You can't write against a read only replica.", "server_error", True),
        ("LOADING Redis is loading the dataset in memory", "server_error", True),
        ("MASTERDOWN Link with MASTER is down", "server_error", True),
        ("OOM command not allowed", "server_error", True),
        ("ERR max number of clients reached", "server_error", True),
        ("something nobody has heard of", "server_error", True),
        ("MOVED 3999 127.0.0.1:6381", "unsupported", False),
        ("CROSSSLOT Keys in request don't hash to the same slot", "unsupported", False),
        ("ERR unknown command 'UNLINK', with args beginning with: 'x'", "unsupported", False),
        ("ERR DB index is out of range", "unsupported", False),
    ],
)
def test_each_refusal_has_its_reason_and_shows_nothing_that_was_sent(reply: str, reason: str, retry: bool) -> None:
    error = refusal(reply)
    assert (error.reason, error.retry) == (reason, retry)
    assert (error.retry_after > 0) == (reason == "auth")
    assert "127.0.0.1" not in str(error)
    assert "'x'" not in str(error)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "protocol"),
        (b"+OK\r\n", "protocol"),
        (b"*1\r\n:1\r\n", "protocol"),
        (b":", "closed"),
        (b"", "closed"),
        (b"-MOVED 1 192.0.2.1:6379\r\n", "unsupported"),
    ],
)
def test_an_answer_that_is_none_is_an_error(says: bytes, reason: str) -> None:
    def talk_nonsense(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"users:42\r\n")
        talk.send(says)

    with RecordingServer(talk_nonsense) as server, backend_for(f"redis://{server.address}/0") as backend:
        with pytest.raises(BackendError) as raised:
            backend.purge(batch("users:42"))
        assert raised.value.reason == reason


@pytest.mark.parametrize("too_much", [b":1\r\n", b"+half", b"-ERR late\r\n"])
def test_a_connection_with_an_answer_too_many_is_not_used_again(too_much: bytes) -> None:
    def answer_twice(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"UNLINK\r\n")
        talk.send(b":1\r\n" + too_much)
        talk.read_all()

    with RecordingServer(answer_twice) as server, backend_for(f"redis://{server.address}/0") as backend:
        assert backend.purge(batch("a")).failures == ()
        assert backend.purge(batch("b")).failures == ()
        assert [received.count(b"UNLINK") for received in server.received] == [1, 1]


def test_what_was_answered_before_the_connection_broke_is_purged() -> None:
    def answer_two_of_three(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"k2499\r\n")
        talk.send(b":5\r\n:5\r\n")

    keys = [f"k{n}" for n in range(2500)]
    with RecordingServer(answer_two_of_three) as server, backend_for(f"redis://{server.address}/0") as backend:
        failures = backend.purge(batch(*keys, prefixes=("p:",))).failures
    assert [failure.target for failure in failures] == [
        *(Target("key", key) for key in keys[2000:]),
        Target("prefix", "p:"),
    ]
    assert {(failure.reason, failure.retry) for failure in failures} == {("closed", True)}


def test_after_a_timeout_the_late_answers_are_not_taken_for_the_next_ones() -> None:
    def late_at_first(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"UNLINK\r\n")
        if talk.number > 0:
            talk.send(b":1\r\n")
        talk.read_all()

    with RecordingServer(late_at_first) as server, backend_for(f"redis://{server.address}/0") as backend:
        with pytest.raises(BackendError, match="no answer in time") as raised:
            backend.purge(batch("a", seconds=0.1))
        assert (raised.value.reason, raised.value.retry) == ("timeout", True)
        assert backend.purge(batch("b")).failures == ()
        assert [received.count(b"UNLINK") for received in server.received] == [1, 1]


def test_a_connection_that_the_server_closed_while_idle_costs_no_attempt() -> None:
    def one_answer_each(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        talk.read_until(b"UNLINK\r\n")
        talk.read_until(b"\r\n")
        talk.read_until(b"\r\n")
        talk.send(b":1\r\n")

    with RecordingServer(one_answer_each) as server, backend_for(f"redis://{server.address}/0") as backend:
        assert backend.purge(batch("a")).failures == ()
        server.wait_for_closed(1)
        assert backend.purge(batch("b")).failures == ()
        assert len(server.received) == 2


def test_a_handshake_that_drips_is_not_waited_for_past_the_deadline() -> None:
    def drip(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        while True:
            talk.send(b"+")
            talk.wait(0.02)

    with RecordingServer(drip) as server, backend_for(f"redis://{server.address}/0") as backend:
        began = time.monotonic()
        with pytest.raises(BackendError):
            backend.purge(batch("a", seconds=0.3))
        assert time.monotonic() - began < 1.0


def test_a_walk_that_does_not_end_is_ended_by_the_deadline() -> None:
    def walk_for_ever(talk: Conversation) -> None:
        talk.read_until(b"PING\r\n")
        talk.send(b"+OK\r\n+PONG\r\n")
        while True:
            talk.read_until(b"COUNT\r\n$4\r\n1000\r\n")
            talk.send(b"*2\r\n$1\r\n7\r\n*0\r\n")

    with RecordingServer(walk_for_ever) as server, backend_for(f"redis://{server.address}/0") as backend:
        began = time.monotonic()
        with pytest.raises(BackendError) as raised:
            backend.purge(batch(prefixes=("users:",), seconds=0.3))
        assert (raised.value.reason, raised.value.retry) == ("timeout", True)
        assert time.monotonic() - began < 1.0


# What a dry run says.


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (batch("a", "half\ud800", soft=True), ["UNLINK s:a on 127.0.0.1:1 database 3"]),
        (batch(tags=("t",)), ["SSCAN tag:t, UNLINK each of its names on 127.0.0.1:1 database 3"]),
        (
            batch(prefixes=("u*:", "u*:1:"), patterns=("a?",)),
            [
                r"SCAN MATCH s:u\*:*, UNLINK each name on 127.0.0.1:1 database 3",
                "SCAN MATCH s:a?, UNLINK each name on 127.0.0.1:1 database 3",
            ],
        ),
        (batch("a", all=True), ["FLUSHDB ASYNC on 127.0.0.1:1 database 3"]),
    ],
)
def test_a_preview_says_what_would_be_sent_under_its_full_name_and_no_password(asked: Batch, lines: list[str]) -> None:
    with backend_for("redis://me:s3cr3t@127.0.0.1:1/3", key="s:{key}", tag_key="tag:{tag}") as backend:
        assert list(backend.preview(asked)) == lines


def test_a_preview_of_everything_says_so_when_only_the_keys_of_the_template_go() -> None:
    with backend_for("redis://127.0.0.1:1/0", key="s:{key}", all_by="scan") as backend:
        assert list(backend.preview(batch(all=True))) == ["SCAN MATCH s:*, UNLINK each name on 127.0.0.1:1 database 0"]
