"""The short way to an answer: it says what the parser says, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from invalidator.errors import BackendError
from invalidator.http import Limits, Response, ResponseParser
from invalidator.http.glance import Glance

LIMITS = Limits(head=256, body=32)
VARNISH = (
    b"HTTP/1.1 200 Purged\r\nDate: Mon, 23 Nov 2026 11:28:32 GMT\r\nServer: Varnish\r\nX-Varnish: 32770\r\n"
    b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\n<xml>"
)
LINES = st.sampled_from([
    "Content-Length: 3", "content-length:\t3 ", "Content-Length: 99", "Content-Length: 0003", "Content-Length: +3",
    "Content-Length: 3,3", "Content-Length:", "Content-Length: 1234567890123456", "Transfer-Encoding: chunked",
    "Connection: close", "Connection: keep-alive", "CONNECTION: Keep-Alive", "Connection: upgrade", "X: y", "X:",
    "X-Content-Length: 9", "Content-Length : 3", "X: a\n b", "X: Content-Length: 9", "Date: now",
])  # fmt: skip
STARTS = st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 404", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 100 Go",
    "HTTP/1.1 304 N", "HTTP/2 200", "HTTP/1.1 20 OK", ""])  # fmt: skip
ANSWERS = st.tuples(
    STARTS, st.lists(LINES, max_size=4), st.sampled_from([b"", b"ab", b"abc", b"abcd", b"abc" * 20])
).map(lambda parts: "\r\n".join([parts[0], *parts[1]]).encode() + b"\r\n\r\n" + parts[2])


def parsed(data: bytes) -> tuple[Response | None, bytes]:
    """What the parser makes of it, and what it leaves."""
    parser = ResponseParser(limits=LIMITS)
    try:
        return parser.feed(data), parser.surplus
    except BackendError:
        return None, b""


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.integers(min_value=0, max_value=9))
@example([VARNISH, VARNISH, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"], 0)
def test_what_is_seen_is_what_the_parser_would_read(answers: list[bytes], cut: int) -> None:
    data = b"".join(answers)
    data = data[: len(data) - cut]
    glance, place = Glance(LIMITS), 0
    while (seen := glance.at(data, place)) is not None:
        assert (seen.response, data[seen.end :]) == parsed(data[place:])
        assert seen.response.reusable
        place = seen.end


def test_the_answers_of_caches_are_seen() -> None:
    glance = Glance(Limits())
    for answer in (VARNISH, VARNISH, VARNISH.replace(b"32770", b"32773")):
        seen = glance.at(b"before" + answer + b"after", 6)
        assert seen is not None
        assert (seen.response.status, seen.response.body, seen.end) == (200, b"<xml>", 6 + len(answer))
        assert seen.response.header("server") == "Varnish"


def test_an_answer_of_the_same_bytes_is_not_read_again() -> None:
    glance = Glance(Limits())
    first, second, other = (glance.at(data, 0) for data in (VARNISH, VARNISH, VARNISH.replace(b"200", b"404")))
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.response is second.response
    assert other.response.status == 404, "the negative control: it is the bytes that it goes by"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 99,
        VARNISH[:-1],
        VARNISH.replace(b"keep-alive", b"close"),
        VARNISH.replace(b"Content-Length: 5\r\n", b""),
        VARNISH.replace(b"Server", b"Content-Length"),
        VARNISH.replace(b"Server: Varnish", b"Transfer-Encoding: chunked"),
        VARNISH.replace(b"Varnish\r\n", b"Varn\nish\r\n"),
        VARNISH.replace(b"1.1", b"1.0"),
        VARNISH.replace(b"200 Purged", b"100 Continue"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + b"X: y\r\n" * 9999 + b"\r\n123456789",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999999,
    ],
)
def test_whatever_is_special_is_left_to_the_parser(data: bytes) -> None:
    assert Glance(Limits()).at(data, 0) is None
