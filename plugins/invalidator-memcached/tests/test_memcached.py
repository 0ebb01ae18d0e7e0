"""The memcached backend against a real memcached, and against a server that records and misbehaves."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import invalidator_memcached
from invalidator import BackendContext, BackendError, Batch, Target
from invalidator.embedded import find_memcached, memcached_server
from invalidator.testing import BackendConformance, CacheUnderTest, Conversation, RecordingServer, answering, saying
from invalidator.testing.hostile import HOSTILE_KEYS
from invalidator_memcached.backend import MemcachedBackend
from invalidator_memcached.connection import Connection
from invalidator_memcached.options import MemcachedOptions
from invalidator_memcached.protocol import KeyTemplate, Replies, deletes, soft_flags
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from invalidator.embedded import MemcachedServer


class Memcached(CacheUnderTest):
    def __init__(self, server: MemcachedServer, **options: Any) -> None:
        self.server = server
        self._options = options

    def options(self) -> dict[str, Any]:
        return {"servers": [self.server.address], "timeout": "2s", **self._options}

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        del tags
        assert self.ask(f"set {key} 0 0 5\r\nvalue\r\n", b"\r\n") == b"STORED\r\n"

    def holds(self, key: str) -> bool:
        return self.ask(f"mg {key} v\r\nmn\r\n", b"MN\r\n").startswith(b"VA")

    def fresh(self, key: str) -> bool:
        return b" X" not in self.ask(f"mg {key} v\r\nmn\r\n", b"MN\r\n").partition(b"\r\n")[0] and self.holds(key)

    def hang(self) -> None:
        self.server.stop()

    def resume(self) -> None:
        self.server.cont()

    def stop(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def ask(self, question: str, end: bytes) -> bytes:
        answer = b""
        with self.server.connect() as connection:
            connection.sendall(question.encode())
            while not answer.endswith(end):
                answer += connection.recv(65536)
        return answer


@contextmanager
def running_memcached(directory: Path, *extra_args: str, unix: bool = False) -> Iterator[MemcachedServer]:
    if find_memcached() is None and os.environ.get("CI") != "true":
        pytest.skip("there is no memcached on this machine")
    with memcached_server(directory, *extra_args, unix=unix) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    with running_memcached(tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="module")
def unix_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    with running_memcached(tmp_path_factory.mktemp("memcached"), unix=True) as server:
        yield server


class TestMemcachedConforms(BackendConformance):
    plugin = invalidator_memcached
    type_name = "memcached"

    @pytest.fixture
    def cache(self, server: MemcachedServer) -> CacheUnderTest:
        return Memcached(server)


class TestMemcachedOnAUnixSocketConforms(BackendConformance):
    plugin = invalidator_memcached
    type_name = "memcached"

    @pytest.fixture
    def cache(self, unix_server: MemcachedServer) -> CacheUnderTest:
        return Memcached(unix_server)


def options(*servers: str, **others: Any) -> MemcachedOptions:
    return MemcachedOptions.model_validate({"servers": list(servers), **others})


@contextmanager
def backend_for(address: str, **others: Any) -> Iterator[MemcachedBackend]:
    backend = MemcachedBackend(address, options(address, **others))
    try:
        yield backend
    finally:
        backend.close()


def batch(*keys: str, seconds: float = 5.0, **others: Any) -> Batch:
    return Batch(worker="w", backend="b", keys=keys, deadline=time.monotonic() + seconds, **others)


QUIET = answering(b"mn\r\n", b"MN\r\n")


def test_every_server_is_a_backend_of_its_own_and_says_which() -> None:
    context = BackendContext(worker="w", backend="b")
    made = invalidator_memcached.make_backend("memcached", options("127.0.0.1:1", "unix:/nowhere/x.sock"), context)
    assert made is not None
    assert [backend.node for backend in made] == ["127.0.0.1:1", "unix:/nowhere/x.sock"]
    assert invalidator_memcached.make_backend("other", options("127.0.0.1:1"), context) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"servers": []}, "at least 1"),
        ({"servers": ["localhost"]}, "is not an address"),
        ({"servers": ["a:1", "a:1"]}, "names a:1 twice"),
        ({"key": "users"}, r"must contain \{key\} once"),
        ({"key": "{key}{key}"}, r"must contain \{key\} once"),
        ({"key": "a {key}"}, "no space"),
        ({"key": "é{key}"}, "printable ASCII"),
        ({"key": "x" * 250 + "{key}"}, "no room"),
        ({"soft_ttl": "100ms"}, "from 1s"),
        ({"soft_ttl": "721h"}, "to 720h"),
        ({"timeout": "0"}, "greater than 0"),
        ({"timeout": 5}, "not a duration"),
    ],
)
def test_wrong_options_say_what_is_wrong(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MemcachedOptions.model_validate({"servers": ["127.0.0.1:11211"], **wrong})


def parse(wire: bytes) -> list[str]:
    """The keys that a memcached would delete; whatever it would not read as a delete or a no-op fails the test."""
    keys = []
    for line in wire.removesuffix(b"\r\n").split(b"\r\n"):
        words = line.decode("ascii").split(" ")
        if words != ["mn"]:
            assert words[0] == "md"
            assert words[2:] == ["q"]
            keys.append(words[1])
    return keys


@given(st.lists(st.text() | st.sampled_from(HOSTILE_KEYS) | st.from_regex(r"\A[!-~]{1,250}\Z")))
def test_the_wire_says_exactly_the_keys_that_memcached_can_hold(keys: list[str]) -> None:
    template = KeyTemplate("s:{key};")
    holdable = template.holdable(keys)
    expected = [key for key in keys if len(key) <= 247 and all("!" <= character <= "~" for character in key)]
    assert holdable == expected
    if holdable:
        assert parse(deletes(template, holdable, " q")) == [f"s:{key};" for key in expected]


def test_the_validator_is_what_keeps_a_hostile_key_off_the_wire() -> None:
    # The negative control of the property above: without the validator a key becomes a command.
    assert b"\r\nflush_all\r\n" in deletes(KeyTemplate("{key}"), ["x\r\nflush_all\r\nmd y"], " q")


@given(st.lists(st.sampled_from([b"HD", b"NF", b"SERVER_ERROR x"]), max_size=5), st.integers(1, 20))
def test_answers_mean_the_same_however_they_are_cut(lines: list[bytes], size: int) -> None:
    wire = b"".join(line + b"\r\n" for line in [*lines, b"MN", b"MN"])
    replies = Replies(2)
    done = [replies.feed(wire[start : start + size]) for start in range(0, len(wire), size)]
    assert done == [False] * (len(done) - 1) + [True]
    assert replies.chunks == [lines, []]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"ERROR\r\n", "unsupported"),
        (b"EX\r\n", "protocol"),
        (b"HD O1\r\n", "protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n", "protocol"),
        (b"\r\n", "protocol"),
        (b"x" * 5000, "protocol"),
        (b"MN\r\nMN\r\n", "protocol"),
        (b"MN\r\nMN", "protocol"),
        (b"ERROR Too many open connections\r\n", "server_error"),
        (b"CLIENT_ERROR unauthenticated\r\n", "auth"),
    ],
)
def test_an_answer_that_is_none_is_an_error(answer: bytes, reason: str) -> None:
    with pytest.raises(BackendError) as raised:
        Replies(1).feed(answer)
    assert raised.value.reason == reason


def test_hostile_keys_put_no_unintended_byte_on_the_wire() -> None:
    with RecordingServer(QUIET) as server, backend_for(server.address, key="app:{key}") as backend:
        assert backend.purge(batch(*HOSTILE_KEYS, "users:42")).failures == ()
        (received,) = server.received
    intended = [key for key in HOSTILE_KEYS if len(key) <= 246 and all("!" <= character <= "~" for character in key)]
    assert received == b"".join(f"md app:{key} q\r\n".encode() for key in [*intended, "users:42"]) + b"mn\r\n"


def test_a_batch_of_nothing_that_memcached_can_hold_is_done_without_a_word() -> None:
    with RecordingServer(QUIET) as server, backend_for(server.address) as backend:
        assert backend.purge(batch("a b", "", "k" * 251, "é")).failures == ()
        assert server.received == ()


def test_a_soft_purge_marks_the_key_stale_for_soft_ttl(server: MemcachedServer) -> None:
    cache = Memcached(server)
    cache.store("soft:1")
    with backend_for(server.address, soft_ttl="20s") as backend:
        assert backend.purge(batch("soft:1", "soft:absent", soft=True)).failures == ()
    assert b" X" in cache.ask("mg soft:1 t v\r\nmn\r\n", b"MN\r\n")
    assert int(cache.ask("mg soft:1 t\r\nmn\r\n", b"MN\r\n").split()[1][1:]) <= 20


def test_soft_flags_are_whole_seconds() -> None:
    assert soft_flags(options("a:1", soft_ttl="1200ms").soft_ttl) == " I T2"


def test_an_error_costs_only_the_key_that_it_is_about() -> None:
    def refuse_one(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        talk.send(b"SERVER_ERROR out of memory\r\nMN\r\n")
        talk.read_until(b"mn\r\n")
        talk.send(b"HD\r\nSERVER_ERROR out of memory\r\nCLIENT_ERROR bad\r\nNF\r\nMN\r\n")

    with RecordingServer(refuse_one) as server, backend_for(server.address) as backend:
        failures = backend.purge(batch("a", "b", "c", "d")).failures
        (received,) = server.received
    assert [(failure.target, failure.reason, failure.retry) for failure in failures] == [
        (Target("key", "b"), "server_error", True),
        (Target("key", "c"), "rejected", False),
    ]
    assert received.endswith(b"mn\r\nmd a\r\nmd b\r\nmd c\r\nmd d\r\nmn\r\n")


def test_answers_that_are_fewer_than_the_questions_belong_to_nobody() -> None:
    def one_too_few(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        talk.send(b"SERVER_ERROR x\r\nMN\r\n")
        talk.read_until(b"mn\r\n")
        talk.send(b"HD\r\nMN\r\n")
        talk.read_all()

    with RecordingServer(one_too_few) as server, backend_for(server.address) as backend:
        failures = backend.purge(batch("a", "b")).failures
    assert [(failure.target.value, failure.reason) for failure in failures] == [("a", "protocol"), ("b", "protocol")]


def test_what_was_answered_before_the_connection_broke_is_purged() -> None:
    keys = [f"k{n}" for n in range(2500)]
    script = saying(b"MN\r\nMN\r\n", after=b"k2499 q\r\nmn\r\n")
    with RecordingServer(script) as server, backend_for(server.address) as backend:
        failures = backend.purge(batch(*keys)).failures
    assert [failure.target.value for failure in failures] == keys[2000:]
    assert {(failure.reason, failure.retry) for failure in failures} == {("closed", True)}


def test_an_old_memcached_is_a_fault_of_the_configuration_said_at_once() -> None:
    with RecordingServer(answering(b"\r\n", b"ERROR\r\n")) as server, backend_for(server.address) as backend:
        with pytest.raises(BackendError, match=r"1\.6 or newer") as raised:
            backend.purge(batch("a", "b"))
        assert not raised.value.retry
        with pytest.raises(BackendError, match=r"1\.6 or newer"):
            backend.connect()


def test_after_a_timeout_the_late_answers_are_not_taken_for_the_next_ones() -> None:
    def late_at_first(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        if talk.number == 0:
            talk.read_all()
        talk.send(b"MN\r\n")
        talk.read_all()

    with RecordingServer(late_at_first) as server, backend_for(server.address) as backend:
        with pytest.raises(BackendError) as raised:
            backend.purge(batch("a", seconds=0.1))
        assert raised.value.reason == "timeout"
        assert backend.purge(batch("b")).failures == ()
        assert server.received == (b"md a q\r\nmn\r\n", b"md b q\r\nmn\r\n")


def test_a_node_that_says_nothing_is_given_up_after_the_timeout_however_late_the_deadline() -> None:
    with RecordingServer() as server, backend_for(server.address, timeout="100ms") as backend:
        began = time.monotonic()
        with pytest.raises(BackendError, match="no answer in time"):
            backend.purge(batch("a", seconds=60.0))
        assert time.monotonic() - began < 2.0


def test_a_node_that_sends_a_byte_now_and_then_is_not_waited_for_past_the_deadline() -> None:
    def drip(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        for byte in (b"SERVER_ERROR " + b"x" * 1000 + b"\r\n") * 900:
            talk.send(bytes([byte]))

    with RecordingServer(drip) as server, backend_for(server.address) as backend:
        began = time.monotonic()
        with pytest.raises(BackendError):
            backend.purge(batch("a", seconds=0.3))
        assert time.monotonic() - began < 1.0


def test_a_connection_that_the_node_closed_while_idle_costs_no_attempt() -> None:
    def one_answer_each(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        talk.send(b"MN\r\n")

    with RecordingServer(one_answer_each) as server, backend_for(server.address) as backend:
        assert backend.purge(batch("a")).failures == ()
        server.wait_for_closed(1)
        assert backend.purge(batch("b")).failures == ()
        assert len(server.received) == 2


def answer_at_length_before_reading_on(talk: Conversation) -> None:
    for _ in range(5):
        talk.read_until(b"mn\r\n")
        talk.send((b"SERVER_ERROR " + b"x" * 1000 + b"\r\n") * 900 + b"MN\r\n")
    while True:
        talk.read_until(b"mn\r\n")
        talk.send(b"NF\r\n" * 1000 + b"MN\r\n")


def test_neither_side_waits_for_the_other_while_both_buffers_are_full(tmp_path: Path) -> None:
    keys = [f"{n:0250}" for n in range(5000)]
    with RecordingServer(answer_at_length_before_reading_on, tmp_path / "s") as server:
        with backend_for(server.address) as backend:
            assert backend.purge(batch(*keys)).failures == ()
        # The negative control: who sends all before reading anything waits for ever on the same node.
        with socket.socket(socket.AF_UNIX) as naive:
            naive.connect(str(tmp_path / "s"))
            naive.settimeout(0.3)
            with pytest.raises(TimeoutError):
                naive.sendall(
                    b"".join(deletes(KeyTemplate("{key}"), keys[n : n + 1000], " q") for n in range(0, 5000, 1000))
                )


# What is sent without a wait.


def connected(backend: MemcachedBackend) -> MemcachedBackend:
    assert backend.purge(batch("first")).failures == ()
    return backend


def test_nothing_is_sent_before_there_is_a_connection_nor_what_is_not_small() -> None:
    many = [f"{n:0250}" for n in range(300)]
    with RecordingServer(QUIET) as server, backend_for(server.address) as backend:
        assert backend.send(batch("a")) is None
        connected(backend)
        for refused in (batch("a b"), batch(all=True), batch(*map(str, range(1001))), batch(*many)):
            assert backend.send(refused) is None
        assert len(server.received[0].splitlines()) == 2, "the first, and its no-op"


@pytest.mark.parametrize("rest", [b"MN\r\n", b"SERVER_ERROR x\r\n", b"x"])
def test_over_a_connection_on_which_something_has_arrived_nothing_is_sent(rest: bytes) -> None:
    asked = threading.Event()

    def talkative(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        talk.send(b"MN\r\n")
        if talk.number == 0 and asked.wait(5):
            talk.send(rest)
        talk.read_all()

    with RecordingServer(talkative) as server, backend_for(server.address) as backend:
        connection = connected(backend)._connection
        assert connection is not None
        asked.set()
        wait_until(lambda: not connection.is_idle())
        assert backend.send(batch("a")) is None
        assert backend.purge(batch("a")).failures == ()
        assert server.received[1].startswith(b"md a q")


def test_after_the_goodbye_of_the_node_nothing_is_sent() -> None:
    with RecordingServer(saying(b"MN\r\n", after=b"mn\r\n")) as server, backend_for(server.address) as backend:
        connected(backend)
        server.wait_for_closed(1)
        assert backend.send(batch("a")) is None
        assert backend.purge(batch("a")).failures == ()


def test_what_could_be_sent_only_in_part_is_hung_up_on_and_sent_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingServer(QUIET) as server, backend_for(server.address) as backend:
        connected(backend)
        with monkeypatch.context() as patched:
            whole = Connection.send
            patched.setattr(Connection, "send", lambda connection, wire: whole(connection, wire[:4]))
            assert backend.send(batch("a")) is None
        server.wait_for_closed(1)
        assert backend.purge(batch("a")).failures == ()
        assert server.received == (b"md first q\r\nmn\r\nmd a", b"md a q\r\nmn\r\n")


@pytest.mark.parametrize(
    "answer", [b"SERVER_ERROR x\r\nMN\r\n", b"MN\r\nMN\r\n", b"MN\r\nM", b"ERROR\r\n", b"HTTP/1.1 400 no\r\n", b""]
)
def test_an_answer_that_is_not_simply_yes_is_left_to_a_purge(answer: bytes) -> None:
    def says_no_once(talk: Conversation) -> None:
        for _ in range(3):
            asked = talk.read_until(b"mn\r\n")
            if b"md a q" in asked and not refused.is_set():
                refused.set()
                talk.send(answer)
                if not answer:
                    return
            else:
                talk.send(b"MN\r\n")

    refused = threading.Event()
    with RecordingServer(says_no_once) as server, backend_for(server.address) as backend:
        sent = connected(backend).send(batch("a"))
        assert sent is not None
        with pytest.raises(BackendError):
            wait_until(sent.is_answered)
        assert backend.purge(batch("a")).failures == ()
        assert server.received[-1].endswith(b"md a q\r\nmn\r\n")


def test_an_answer_in_pieces_is_one_and_who_waits_for_it_has_the_rest() -> None:
    rest = threading.Event()

    def piecemeal(talk: Conversation) -> None:
        talk.read_until(b"mn\r\n")
        talk.send(b"MN\r\n")
        talk.read_until(b"mn\r\n")
        talk.send(b"SERVER_ERROR x\r\nM")
        rest.wait(5)
        talk.send(b"N\r\n")
        talk.read_until(b"mn\r\n")
        talk.send(b"HD\r\nSERVER_ERROR x\r\nMN\r\n")
        talk.read_all()

    with RecordingServer(piecemeal) as server, backend_for(server.address) as backend:
        sent = connected(backend).send(batch("a", "b"))
        assert sent is not None
        assert select.select([sent], [], [], 5)[0]
        assert not sent.is_answered()
        rest.set()
        assert [failure.target.value for failure in sent.wait().failures] == ["b"]
        assert len(server.received) == 1


def test_flush_all_is_flush_all_and_its_refusal_is_said(tmp_path: Path) -> None:
    with RecordingServer(answering(b"flush_all\r\n", b"OK\r\n")) as server, backend_for(server.address) as backend:
        assert backend.purge(batch("a", all=True)).failures == ()
        assert server.received == (b"flush_all\r\n",)
    with running_memcached(tmp_path, "-F") as refusing, backend_for(refusing.address) as backend:
        with pytest.raises(BackendError, match="-F") as raised:
            backend.purge(batch(all=True))
        assert (raised.value.reason, raised.value.retry) == ("unsupported", False)


@pytest.mark.parametrize("answer", [b"MN\r\n", b"SERVER_ERROR no\r\n", b"OK\r\nOK\r\n", b"O"])
def test_a_flush_is_done_only_when_the_node_says_ok(answer: bytes) -> None:
    script = saying(answer, after=b"flush_all\r\n")
    with RecordingServer(script) as server, backend_for(server.address) as backend, pytest.raises(BackendError):
        backend.purge(batch(all=True))


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with backend_for("no-such-host.invalid:11211") as backend, pytest.raises(BackendError) as raised:
        backend.purge(batch("a"))
    assert (raised.value.reason, raised.value.retry) == ("unreachable", True)


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (batch("a", "not one"), ["delete s:a on 127.0.0.1:1"]),
        (batch("a", soft=True), ["mark stale s:a on 127.0.0.1:1"]),
        (batch("a", all=True), ["flush_all on 127.0.0.1:1"]),
    ],
)
def test_a_preview_says_what_would_be_sent_and_contacts_nobody(asked: Batch, lines: list[str]) -> None:
    with backend_for("127.0.0.1:1", key="s:{key}", soft_ttl="30s") as backend:
        assert list(backend.preview(asked)) == lines
