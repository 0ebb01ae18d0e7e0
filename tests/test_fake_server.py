"""What the fakes share: strict framing, faults on demand, an end that comes, and calls from many threads at once."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from invalidator.testing import Answer, EdgeCache, FakeApi, FakeCloudflare, FakeFastly, Request, faults, json_answer
from tests.support.vendors import Reply, ask, say

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "https://shop.example/a"
KEYS = b'{"surrogate_keys": ["a"]}'


@pytest.fixture
def fastly() -> Iterator[FakeFastly]:
    with FakeFastly() as fake:
        fake.edge.put(PAGE, tags=["a"])
        yield fake


def purge(fake: FakeFastly, timeout: float = 5.0) -> Reply:
    headers = {"Fastly-Key": fake.token, "Content-Type": "application/json"}
    return ask(fake.url, "POST", f"/service/{fake.service}/purge", KEYS, headers, timeout)


def framed(fake: FakeFastly, *headers: str, body: bytes = KEYS, line: str = "") -> bytes:
    """A purge in bytes, whose headers of framing are left to the test."""
    first = line or f"POST /service/{fake.service}/purge HTTP/1.1"
    lines = [first, f"Fastly-Key: {fake.token}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def connected(fake: FakeFastly) -> http.client.HTTPConnection:
    parts = urlsplit(fake.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5.0)


# Framing.


def test_a_purge_framed_by_hand_is_accepted(fastly: FakeFastly) -> None:
    answer = say(fastly.url, framed(fastly, "Host: x", f"Content-Length: {len(KEYS)}"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not fastly.edge.has(PAGE)


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        (["Host: x", "Content-Length: -1"], 400, "not a Content-Length"),
        (["Host: x", "Content-Length: +25"], 400, "not a Content-Length"),
        (["Host: x", "Content-Length: 0x19"], 400, "not a Content-Length"),
        (["Host: x", "Content-Length: 25, 25"], 400, "not a Content-Length"),
        (["Host: x", "Content-Length: 25", "Content-Length: 25"], 400, "content-length was sent twice"),
        (["Host: x", "Host: x", "Content-Length: 25"], 400, "host was sent twice"),
        (["Host: x", "Content-Length: 99999999999"], 413, "a body of"),
        (["Host: x", "Transfer-Encoding: chunked"], 411, "without Content-Length"),
        (["Host: x", "Content-Length: 25", "Transfer-Encoding: chunked"], 411, "without Content-Length"),
        (["Content-Length: 25"], 400, "no Host header"),
        (["Host: x", "Content-Length: 25", " folded"], 400, "not a header"),
        (["Host: x", "Content-Length : 25"], 400, "not a header"),
        (["Host: x", "nonsense", "Content-Length: 25"], 400, "not a header"),
        (["Host: x", "X: a\x00b", "Content-Length: 25"], 400, "not a header"),
        (["Host: x", "X: a\rb", "Content-Length: 25"], 400, "not a header"),
        (["Host: x", "X: " + "a" * 65536, "Content-Length: 25"], 431, "a line of more than"),
        (["Host: x", *["X: a"] * 101, "Content-Length: 25"], 431, "more than 100 headers"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_bad_framing_is_refused_and_ends_the_connection(
    fastly: FakeFastly, headers: list[str], status: int, why: str
) -> None:
    answer = say(fastly.url, framed(fastly, *headers))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close\r\n" in answer
    assert fastly.edge.is_fresh(PAGE)
    assert why in fastly.refused[0].reason


@pytest.mark.parametrize(
    "line", ["POST /x HTTP/1.0", "POST x HTTP/1.1", "POST /a b HTTP/1.1", "post /x HTTP/1.1", "POST /é HTTP/1.1", ""]
)
def test_what_is_no_request_line_is_refused(fastly: FakeFastly, line: str) -> None:
    answer = say(fastly.url, f"{line}\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "not a request line" in fastly.refused[0].reason


def test_a_line_that_ends_without_a_carriage_return_is_refused(fastly: FakeFastly) -> None:
    say(fastly.url, framed(fastly, "Host: x", "X: a\nY: b", "Content-Length: 25"))
    assert "ends without CR" in fastly.refused[0].reason


def test_a_length_that_is_too_small_is_found_out_by_what_follows(fastly: FakeFastly) -> None:
    answer = say(fastly.url, framed(fastly, "Host: x", "Content-Length: 2"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "malformed JSON" in fastly.refused[0].reason
    assert "the end in the middle of a line" in fastly.refused[1].reason


def test_a_length_that_is_too_large_is_found_out_when_the_client_ends(fastly: FakeFastly) -> None:
    assert say(fastly.url, framed(fastly, "Host: x", "Content-Length: 26")) == b""
    assert "25 of 26 bytes of the body" in fastly.refused[0].reason
    assert fastly.edge.is_fresh(PAGE)


def test_a_connection_is_kept_for_the_next_call_unless_it_is_to_be_closed(fastly: FakeFastly) -> None:
    headers = {"Fastly-Key": fastly.token}
    connection = connected(fastly)
    try:
        for number in range(3):
            connection.request("GET", "/tokens/self", headers=headers)
            response = connection.getresponse()
            assert (response.status, response.read() != b"") == (200, True)
            if number == 0:
                first = connection.sock
            assert connection.sock is first
        connection.request("GET", "/tokens/self", headers={**headers, "Connection": "close"})
        assert connection.getresponse().headers["Connection"] == "close"
    finally:
        connection.close()


# Faults.


def test_a_fault_is_for_one_call_and_then_all_is_well(fastly: FakeFastly) -> None:
    fastly.fail(faults.server_error(502), faults.server_error(500))
    for status in (502, 500):
        reply = purge(fastly)
        assert (reply.status, reply.headers["Content-Type"]) == (status, "text/html")
        assert reply.body.startswith(b"<html>")
        assert fastly.edge.is_fresh(PAGE)
    assert purge(fastly).status == 200
    assert not fastly.edge.has(PAGE)
    assert [call.fault for call in fastly.calls] == ["server error 502", "server error 500", ""]
    assert len(fastly.purges) == 1
    assert fastly.refused == ()


def test_too_many_says_when_in_seconds_or_as_a_date(fastly: FakeFastly) -> None:
    fastly.fail(faults.too_many(7), faults.too_many(70, date=True))
    assert purge(fastly).headers["Retry-After"] == "7"
    reply = purge(fastly)
    assert reply.status == 429
    until = parsedate_to_datetime(reply.headers["Retry-After"])
    assert 60 < until.timestamp() - time.time() < 71


def test_a_success_can_be_none(fastly: FakeFastly) -> None:
    fastly.fail(faults.unsuccessful(), faults.saying(200, b"OK"), faults.saying(302, {}, headers=(("Location", "/"),)))
    assert purge(fastly).json["success"] is False
    assert purge(fastly).body == b"OK"
    assert purge(fastly).status == 302
    assert fastly.edge.is_fresh(PAGE)


def test_a_hang_ends_with_the_clients_patience_or_with_the_fake() -> None:
    with FakeFastly() as fake:
        fake.fail(faults.hang(), faults.hang())
        with pytest.raises(TimeoutError):
            purge(fake, timeout=0.05)
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(purge, fake)
            fake.wait_for(lambda calls: len(calls) == 2)
            began = time.monotonic()
            fake.stop()
            assert isinstance(hanging.exception(), http.client.HTTPException | OSError)
        assert time.monotonic() - began < 1.0
        assert [call.status for call in fake.calls] == [0, 0]
        assert fake.purges == ()


@pytest.mark.parametrize("head", [False, True])
def test_half_an_answer_comes_after_a_whole_purge(fastly: FakeFastly, head: bool) -> None:
    fastly.fail(faults.half_an_answer(of_the_head=head))
    answer = say(fastly.url, framed(fastly, "Host: x", f"Content-Length: {len(KEYS)}"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"\r\n\r\n" in answer) is not head
    assert not answer.endswith(b"}")
    assert not fastly.edge.has(PAGE)


@pytest.mark.parametrize("after", [False, True])
def test_a_connection_is_reset_before_or_after_the_purge(fastly: FakeFastly, after: bool) -> None:
    fastly.fail(faults.reset(after_the_purge=after))
    with pytest.raises(ConnectionResetError):
        purge(fastly)
    assert fastly.edge.has(PAGE) is not after


def test_a_slow_answer_is_a_whole_one(fastly: FakeFastly) -> None:
    fastly.fail(faults.slow(0.1))
    began = time.monotonic()
    assert set(purge(fastly).json) == {"a"}
    assert time.monotonic() - began >= 0.1


def test_a_huge_answer_is_as_long_as_it_says_and_may_be_left(fastly: FakeFastly) -> None:
    fastly.fail(faults.huge(1_000_001), faults.huge())
    assert len(purge(fastly).body) == 1_000_001
    connection = connected(fastly)
    connection.request("GET", "/tokens/self", headers={"Fastly-Key": fastly.token})
    assert connection.getresponse().headers["Content-Length"] == str(64 * 1024 * 1024)
    connection.close()
    assert fastly.edge.is_fresh(PAGE)


# A fake of another vendor's.


def test_another_api_is_a_subclass_that_says_what_to_respond() -> None:
    class Other(FakeApi):
        base = "/v1"

        def respond(self, request: Request, now: float) -> Answer:
            if request.target != "/v1/purge":
                return json_answer(404, {"error": "no such path"}, reason="no such path")
            self.edge.purge_all()
            return json_answer(200, {"at": now})

    with Other(EdgeCache(str), clock=lambda: 7.0) as fake:
        fake.edge.put(PAGE)
        assert ask(fake.url, "POST", "/purge").json == {"at": 7.0}
        assert not fake.edge.has(PAGE)
        assert ask(fake.url, "POST", "/other").status == 404
        assert [call.reason for call in fake.calls] == ["", "no such path"]


# What is cached.


def test_what_is_cached_again_is_fresh_and_bears_its_new_tags_alone(fastly: FakeFastly) -> None:
    fastly.edge.purge_tag("a", soft=True)
    assert fastly.edge.is_stale(PAGE)
    fastly.edge.put(PAGE, tags=["b"])
    assert fastly.edge.is_fresh(PAGE)
    assert fastly.edge.purge_tag("a") == 0
    assert fastly.edge.purge_tag("b") == 1
    assert not fastly.edge.has(PAGE)
    assert not fastly.edge.is_stale(PAGE)


@pytest.mark.parametrize("url", ["/a", "shop.example/a", "ftp://shop.example/a", ""])
def test_only_absolute_urls_are_cached(fastly: FakeFastly, url: str) -> None:
    with pytest.raises(ValueError, match="not an absolute URL"):
        fastly.edge.put(url)


# Beginning and end.


def test_a_stopped_fake_refuses_connections_and_returns_empty_at_the_same_address(fastly: FakeFastly) -> None:
    purge(fastly)
    fastly.edge.put(PAGE)
    fastly.fail(faults.hang())
    fastly.stop()
    with pytest.raises(ConnectionRefusedError):
        purge(fastly)
    fastly.start()
    assert purge(fastly).status == 200
    assert len(fastly.edge) == 0
    assert len(fastly.calls) == 2


def test_a_suspended_fake_answers_when_it_is_resumed(fastly: FakeFastly) -> None:
    fastly.suspend()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(purge, fastly)
        with pytest.raises(TimeoutError):
            purge(fastly, timeout=0.05)
        assert fastly.calls == ()
        fastly.resume()
        assert waiting.result().status == 200


def test_stopping_twice_is_stopping_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with FakeFastly() as fake, socket.create_connection(("127.0.0.1", urlsplit(fake.url).port)):
        purge(fake)
        fake.stop()
        fake.stop()
    assert {thread for thread in set(threading.enumerate()) - before if thread.name == "FakeFastly"} == set()


def test_an_error_of_the_fake_itself_is_raised_at_its_end() -> None:
    class Broken(FakeFastly):
        def _id(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Broken() as fake, pytest.raises(http.client.RemoteDisconnected):
        purge(fake)


def test_calls_from_many_threads_are_each_recorded_and_counted_once() -> None:
    with FakeCloudflare(plan="pro", clock=lambda: 0.0) as fake:
        headers = {"Authorization": f"Bearer {fake.token}", "Content-Type": "application/json"}

        def call(number: int) -> int:
            body = {"tags": [f"t{number}"]}
            return ask(fake.url, "POST", f"/zones/{fake.zone}/purge_cache", body, headers).status

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(call, range(100)))
        assert (statuses.count(200), statuses.count(429)) == (25, 75)
        assert len({call.json["tags"][0] for call in fake.calls}) == 100
        assert (len(fake.purges), len(fake.refused)) == (25, 75)


def test_the_fakes_bring_nothing_along_that_is_not_pythons_own() -> None:
    """They are part of what each plugin's tests import."""
    new = (
        "import sys, invalidator.testing.http_api as _; before = set(sys.modules);"
        "import invalidator.testing.cloudflare, invalidator.testing.fastly, invalidator.testing.faults;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    found = subprocess.run([sys.executable, "-c", new], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) <= {"invalidator", *sys.stdlib_module_names}
