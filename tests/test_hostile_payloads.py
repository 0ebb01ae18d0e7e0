"""Hostile payloads through a whole daemon: nothing crashes, and no unintended byte goes out on any wire."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.testing import RecordingServer
from invalidator.testing.hostile import HOSTILE_KEYS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from invalidator.testing.recording import Conversation
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

CANARY = "shop:orders:7"  # what no payload below may ask for
ENDS = ("coalesced", "purged", "flushed", "dead", "skipped", "lost")


def as_json(key: str) -> bytes:
    return json.dumps({"keys": [key], "tags": [key], "prefixes": [key], "urls": [key]}).encode()


PAYLOADS = [
    *(key.encode("utf-8", "surrogatepass") for key in HOSTILE_KEYS),
    *map(as_json, HOSTILE_KEYS),
    b'{"keys":["\\ud800"]}',
    b'{"keys":["a"],"keys":["b"]}',
    b'{"keys":[["nested"]]}',
    b'{"keys":{"a":1}}',
    b'{"all":true}',
    b'{"patterns":["*"]}',
    b'{"v":99,"keys":["a"]}',
    b'{"v":1e400,"keys":["a"]}',
    b'{"ts":-1e308,"keys":["ok:ts"]}',
    b'{"ts":1e308,"keys":["ok:ts2"]}',
    b"{" * 5000,
    b'{"keys":[' + b'"x",' * 1000 + b'"x"]}',
    b'{"x":' + b"1" * 5000 + b',"keys":["ok:digits"]}',
    b'{"x":' + b"[" * 4000,
    b"\xff" * 100,
    b"\x00",
    b"a" * 8193,
    b"[" * 100,
    b"null",
    b'"text"',
    b"\xef\xbb\xbf{}",
    b'{"specversion":"1.0","data":{"specversion":"1.0","data":{"keys":["deep"]}}}',
    b'{"specversion":"1.0","data":"eyJrZXlzIjpbImEiXX0="}',
    b'{"keys":["a\\u0000b","a\\r\\nflush_all","ok:among"]}',
    b'{"reply":"other:channel","keys":["ok:reply"]}',
    b'{"id":"\\u0000\\n","source":"\\u001b[2J","keys":["ok:names"]}',
]


def memcached(talk: Conversation) -> None:
    """A memcached that has nothing, and answers what is pipelined with its end mark."""
    while True:
        talk.read_until(b"mn\r\n")
        talk.send(b"MN\r\n")


def cache(talk: Conversation) -> None:
    """An HTTP cache that purges whatever it is asked to."""
    while True:
        talk.read_until(b"\r\n\r\n")
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def wires(cleanup: ExitStack) -> tuple[RecordingServer, RecordingServer]:
    return cleanup.enter_context(RecordingServer(memcached)), cleanup.enter_context(RecordingServer(cache))


@pytest.fixture
def replica(redis_server: MakeRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server().url) as client:
        client.set(CANARY, "kept")
        yield client


def topology(source: RedisServer, wires: tuple[RecordingServer, RecordingServer], replica: str) -> dict[str, Any]:
    objects, edge = wires
    backends: dict[str, Any] = {
        "objects": {"type": "memcached", "servers": [objects.address]},
        "edge": {"type": "http", "targets": [f"http://{edge.address}"], "path": "/{key}", "hosts": ["shop.example"]},
        "replica": {"type": "redis", "url": replica},
        "said": {"type": "log"},
    }
    worker = {"name": "w", "pattern": "cache:*", "backends": list(backends), "on_gap": "ignore"}
    return {"redis": {"url": source.url}, "backends": backends, "workers": [worker]}


def accounted_for(run: Daemon, backend: str) -> bool:
    metrics = run.metrics()
    pending = metrics.value("invalidator_pending", backend=backend)
    ended = sum(metrics.value("invalidator_targets_total", backend=backend, end=end) for end in ENDS)
    return pending == 0 and ended == metrics.value("invalidator_targets_received_total", backend=backend)


def test_hostile_payloads_are_rejected_or_purged_as_what_they_are(
    source: RedisServer, wires: tuple[RecordingServer, RecordingServer], replica: redis.Redis, daemon: MakeDaemon
) -> None:
    address = replica.get_connection_kwargs()
    run = daemon(topology(source, wires, f"redis://127.0.0.1:{address['port']}/0"))
    workers = run.pids()
    assert len(PAYLOADS) >= 90
    with redis.Redis.from_url(source.url) as client:
        for payload in PAYLOADS:
            client.publish("cache:x", payload)
        client.publish("cache:x", b"the:last")

    run.wait_metric("invalidator_messages_received_total", len(PAYLOADS) + 1, worker="w")
    for backend in ("objects", "edge", "replica", "said"):
        wait_until(lambda name=backend: accounted_for(run, name), 15, run.logs)  # type: ignore[misc]
    metrics = run.metrics()
    assert run.pids() == workers, "the worker has crashed"
    assert metrics.value("invalidator_targets_total", end="lost") == 0
    for reason in ("empty", "oversize", "utf8", "json", "depth", "version", "shape", "ambiguous", "control"):
        assert metrics.value("invalidator_messages_rejected_total", reason=reason) > 0, reason
    assert replica.get(CANARY) == b"kept"
    lines = b"".join(wires[0].received).split(b"\r\n")
    assert b"md the:last q" in lines
    assert [line for line in lines if not re.fullmatch(rb"md [\x21-\x7e]{1,250} q|mn|", line)] == []
    requests = b"".join(wires[1].received).split(b"\r\n\r\n")
    assert [request for request in requests if not is_a_purge(request, wires[1].address)] == []


def is_a_purge(request: bytes, host: str) -> bool:
    """Whether this is one PURGE of a safe path, for the cache itself or for a host that the topology names."""
    if not request:
        return True
    first, *headers = request.split(b"\r\n")
    line = re.fullmatch(rb"PURGE (/[A-Za-z0-9._~:/%?=&+,;@!$'()*-]*) HTTP/1\.1", first)
    hosts = [header for header in headers if header.lower().startswith(b"host:")]
    sound = all(re.fullmatch(rb"[A-Za-z-]+: [\x20-\x7e]*", header) for header in headers)
    steps = re.split(rb"/|%2f", line[1].lower()) if line else []
    no_dots = not any(step.replace(b"%2e", b".") in (b".", b"..") for step in steps)
    return bool(line) and sound and no_dots and hosts in ([b"Host: " + host.encode()], [b"Host: shop.example"])


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PURGE /a b HTTP/1.1\r\nHost: h",
        b"PURGE /a/../b HTTP/1.1\r\nHost: h",
        b"PURGE /a/%2e%2E/b HTTP/1.1\r\nHost: h",
        b"PURGE http://192.0.2.1/ HTTP/1.1\r\nHost: h",
        b"PURGE /a HTTP/1.1\r\nHost: 192.0.2.1",
        b"PURGE /a HTTP/1.1\r\nHost: h\r\nX: a\n folded",
        b"GET /a HTTP/1.1\r\nHost: h",
    ],
)
def test_the_check_of_the_wire_sees_what_should_not_be_on_it(request_bytes: bytes) -> None:
    assert is_a_purge(b"PURGE /a HTTP/1.1\r\nHost: h", "h")
    assert not is_a_purge(request_bytes, "h")
