"""A batch's commands are one stream of bytes: sent whole, however the server reads, and never waited for too long."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from invalidator import BackendError, Batch, PurgeResult, Target
from invalidator.testing import Conversation, RecordingServer
from invalidator.testing.hostile import HOSTILE_KEYS
from invalidator_redis.backend import RedisBackend
from invalidator_redis.commands import encodable, unlink
from invalidator_redis.options import RedisOptions
from invalidator_redis.outcome import Outcome
from tests.support.tls import tls_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = tuple(f"{n:05d}:{'x' * 2000}" for n in range(8_000))
"""Far more bytes than the kernel's buffers hold while nobody reads."""


@contextmanager
def backend_for(url: str, **others: Any) -> Iterator[RedisBackend]:
    backend = RedisBackend(RedisOptions.model_validate({"url": url, **others}))
    try:
        yield backend
    finally:
        backend.close()


def batch(*keys: str, seconds: float = 5.0, **others: Any) -> Batch:
    return Batch(worker="w", backend="b", keys=keys, deadline=time.monotonic() + seconds, **others)


def greet(talk: Conversation) -> None:
    talk.read_until(b"PING\r\n")
    talk.send(b"+OK\r\n+PONG\r\n")


def greet_and_hang(talk: Conversation) -> None:
    greet(talk)
    talk.hang()


# A server that is slow to read, or does not.


def test_a_server_that_stops_reading_in_the_middle_is_left_at_the_deadline() -> None:
    with (
        RecordingServer(greet_and_hang) as server,
        backend_for(f"redis://{server.address}/0", timeout="30s") as backend,
    ):
        began = time.monotonic()
        with pytest.raises(BackendError) as raised:
            backend.purge(batch(*LONG, seconds=0.3))
        assert time.monotonic() - began < 1.0
        assert (raised.value.reason, raised.value.retry) == ("timeout", True)


def test_a_socket_that_blocks_would_hold_the_lane_up_for_longer() -> None:
    def ask() -> None:
        with suppress(BackendError):
            connection.ask([unlink(LONG)], time.monotonic() + 0.1)

    with ExitStack() as stack:
        server = stack.enter_context(RecordingServer(greet_and_hang))
        backend = stack.enter_context(backend_for(f"redis://{server.address}/0", timeout="30s"))
        connection = backend._connected(time.monotonic() + 5.0)
        connection._socket.setblocking(True)
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(0.5)
        assert asking.is_alive(), "all of it fits into the kernel's buffers: the test above shows nothing"
        server.close()
        asking.join(5.0)
        assert not asking.is_alive()


def test_a_server_that_answers_slowly_is_given_its_timeout_anew_with_each_answer() -> None:
    def answer_slowly(talk: Conversation) -> None:
        greet(talk)
        talk.read_until(b"k3999\r\n")
        for _ in range(4):
            talk.wait(0.15)
            talk.send(b":1000\r\n")
        talk.read_all()

    with (
        RecordingServer(answer_slowly) as server,
        backend_for(f"redis://{server.address}/0", timeout="450ms") as backend,
    ):
        began = time.monotonic()
        assert backend.purge(batch(*(f"k{n}" for n in range(4000)))) == PurgeResult()
        assert time.monotonic() - began > 0.45, "no longer than one timeout: this shows nothing"


# What arrives.


@pytest.mark.parametrize("each", [1, 7, 1000])
def test_what_is_asked_in_one_write_is_what_was_meant_to_the_last_byte(
    each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [*encodable(HOSTILE_KEYS)[0], "é" * 700, "\r\n$1\r\nx", "nul\x00\r\n", "the last"]
    chunks = [keys[start : start + each] for start in range(0, len(keys), each)]
    monkeypatch.setattr("invalidator_redis.backend.KEYS_PER_COMMAND", each)

    def answer_in_halves(talk: Conversation) -> None:
        greet(talk)
        talk.read_until(b"the last\r\n")
        talk.send(b":")
        for _ in chunks[1:]:
            talk.send(b"0\r\n:")
        talk.send(b"0\r\n")
        talk.read_all()

    with (
        RecordingServer(answer_in_halves) as server,
        backend_for(f"redis://{server.address}/0") as backend,
    ):
        assert backend.purge(batch(*keys)) == PurgeResult()
        (received,) = server.received
    meant = [[b"SELECT", b"0"], [b"PING"], *([b"UNLINK", *(key.encode() for key in chunk)] for chunk in chunks)]
    assert understood(received) == meant
    # A length in characters would make a command of what is left of the key.
    with pytest.raises(hiredis.ProtocolError):
        understood(received.replace(b"$1400\r\n", b"$700\r\n"))


def understood(wire: bytes) -> list[Any]:
    """What a server reads in this, all of it."""
    reader = hiredis.Reader()
    reader.feed(wire)
    commands = list(iter(reader.gets, False))
    assert not reader.has_data()
    return commands


def test_a_thousand_long_names_and_many_pages_go_over_tls(tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = tls_server(stack, tmp_path)
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem"
        client = stack.enter_context(redis.Redis.from_url(url, protocol=2))
        backend = stack.enter_context(backend_for(url))
        client.mset(dict.fromkeys([*LONG[:4000], "other"], "x"))
        assert backend.purge(batch(*LONG[:2000], prefixes=("02", "03"))) == PurgeResult()
        assert client.keys() == [b"other"]


# What it costs.


class Counted:
    """A socket that notes what is called of it."""

    def __init__(self, behind: Any) -> None:
        self.calls: list[str] = []
        self._behind = behind

    def fileno(self) -> int:
        return int(self._behind.fileno())

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._behind, name)


@pytest.mark.parametrize("count", [1, 2000])
def test_a_batch_is_one_call_to_send_it_and_one_to_hear_its_answers(count: int) -> None:
    # Each call lets go of the interpreter, and comes back only when the loop that hears messages lets go of it.
    keys = [f"k{n}" for n in range(count)]

    def answer_at_once(talk: Conversation) -> None:
        greet(talk)
        talk.read_until(f"{keys[-1]}\r\n".encode())
        talk.send(b":0\r\n" * (count // 1000 or 1))
        talk.read_all()

    with RecordingServer(answer_at_once) as server, backend_for(f"redis://{server.address}/0") as backend:
        connection = backend._connected(time.monotonic() + 5.0)
        counted: Any = Counted(connection._socket)
        connection._socket = counted
        assert backend.purge(batch(*keys)) == PurgeResult()
        assert counted.calls in (["send", "recv"], ["send", "recv", "recv"]), "the answer is there at the first or not"
        counted.settimeout(1.0)
        assert counted.calls[-1] == "settimeout", "it would have been seen"


# What became of each target.

TARGETS = st.lists(st.tuples(st.sampled_from(["key", "tag", "prefix"]), st.text("ab", max_size=2)), unique=True)


@given(TARGETS, st.data())
def test_what_is_neither_purged_nor_has_failed_when_an_error_ends_it_has_failed(
    targets: list[tuple[Any, str]], data: st.DataObject
) -> None:
    fates = [data.draw(st.sampled_from(["purged", "failed", "open"])) for _ in targets]
    asked = {kind: tuple(value for of, value in targets if of == kind) for kind in ("key", "tag", "prefix")}
    outcome = Outcome(batch(*asked["key"], tags=asked["tag"], prefixes=asked["prefix"]))
    expected: dict[Target, str] = {}
    for (kind, value), fate in zip(targets, fates, strict=True):
        if fate == "purged":
            outcome.purged(kind, [value])
        elif fate == "failed":
            outcome.failed(Target(kind, value), BackendError("rejected", "it"))
            expected[Target(kind, value)] = "rejected"
        else:
            expected[Target(kind, value)] = "closed"
    if set(fates) <= {"open"}:
        with pytest.raises(BackendError):
            outcome.broken_off(BackendError("closed", "gone"))
        return
    failures = outcome.broken_off(BackendError("closed", "gone")).failures
    assert {failure.target: failure.reason for failure in failures} == expected
    assert len(failures) == len(expected)
