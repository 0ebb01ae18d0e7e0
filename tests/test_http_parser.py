"""HTTP responses from bytes: what is taken, what is refused, and that the cuts between packets mean nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.errors import BackendError
from invalidator.http import Limits, Response, ResponseParser

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = Limits(head=256, body=32)


def parse(*pieces: bytes, head: bool = False, limits: Limits = SMALL, end: bool = False) -> Response | str | None:
    """The response, the reason of the error, or None while it is incomplete."""
    parser = ResponseParser(head=head, limits=limits)
    try:
        answers = [parser.feed(piece) for piece in pieces]
        return parser.end() if end else answers[-1]
    except BackendError as error:
        return error.reason


def message(head: str, body: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


GOOD: dict[str, tuple[bytes, int, bytes, bool]] = {
    "a length": (message("HTTP/1.1 200 OK\nContent-Length: 2", b"ok"), 200, b"ok", True),
    "no reason": (message("HTTP/1.1 200\nContent-Length: 0"), 200, b"", True),
    "an empty reason": (message("HTTP/1.1 404 \nContent-Length: 0"), 404, b"", True),
    "no body by its status": (message("HTTP/1.1 204 No Content\nX: y"), 204, b"", True),
    "a length that means another answer's": (message("HTTP/1.1 304 Not Modified\nContent-Length: 9"), 304, b"", True),
    "chunks": (
        message("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked", b"2;a=b\r\nok\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n"),
        200,
        b"ok!",
        True,
    ),
    "a close": (message("HTTP/1.1 200 OK\nConnection: x, Close\nContent-Length: 0"), 200, b"", False),
    "an old server": (message("HTTP/1.0 200 OK\nContent-Length: 0"), 200, b"", False),
    "an old server that keeps": (message("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 0"), 200, b"", True),
    "interim answers": (
        message("HTTP/1.1 100 Continue") + message("HTTP/1.1 200 OK\nContent-Length: 0"),
        200,
        b"",
        True,
    ),
}

BAD: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "another version": message("HTTP/2.0 200 OK"),
    "a status of two digits": message("HTTP/1.1 20 OK"),
    "a folded header": message("HTTP/1.1 200 OK\nX: a\n b"),
    "a space before the colon": message("HTTP/1.1 200 OK\nX : a"),
    "a header without a name": message("HTTP/1.1 200 OK\n: a"),
    "a bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "a NUL": message("HTTP/1.1 200 OK\nX: a\0b"),
    "two lengths": message("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2"),
    "a length and chunks": message("HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked"),
    "another coding": message("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked"),
    "chunks from an old server": message("HTTP/1.0 200 OK\nTransfer-Encoding: chunked"),
    "a negative length": message("HTTP/1.1 200 OK\nContent-Length: -1"),
    "a signed length": message("HTTP/1.1 200 OK\nContent-Length: +1"),
    "a chunk that is no number": message("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"0x2\r\nok\r\n"),
    "a chunk without an end": message("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"2\r\nokay\r\n"),
    "a chunk's line without an end": message("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"1;" + b"x" * 400),
    "trailers without an end": message("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"0\r\n" + b"A: b\r\n" * 99),
    "a head without an end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99,
    "interim answers without an end": message("HTTP/1.1 100 Continue") * 99,
    "a switch of protocols": message("HTTP/1.1 101 Switching Protocols"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_response_is_read(name: str) -> None:
    data, status, body, reusable = GOOD[name]
    answer = parse(data)
    assert isinstance(answer, Response)
    assert (answer.status, answer.body, answer.reusable, answer.truncated) == (status, body, reusable, False)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_response_is_refused(name: str) -> None:
    assert parse(BAD[name]) == "protocol"


def test_a_body_may_end_with_the_connection() -> None:
    data = message("HTTP/1.1 200 OK", b"all of it")
    assert parse(data) is None
    assert parse(data, end=True) == Response(200, b"", b"all of it", reusable=False)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", message("HTTP/1.1 200 OK\nContent-Length: 5", b"1234")])
def test_a_connection_that_ends_too_early_is_an_error(data: bytes) -> None:
    assert parse(data, end=True) == "closed"


def test_the_answer_to_head_has_no_body_whatever_it_says() -> None:
    data = message("HTTP/1.1 200 OK\nContent-Length: 5")
    assert isinstance(parse(data, head=True), Response)
    assert parse(data) is None, "the negative control: to another method it has one"


@pytest.mark.parametrize(
    "data",
    [
        message("HTTP/1.1 200 OK\nContent-Length: 1000000000", b"x" * 100),
        message("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"8\r\n12345678\r\n" * 99),
        message("HTTP/1.1 200 OK", b"x" * 100),
    ],
)
def test_of_a_giant_body_only_the_beginning_is_read(data: bytes) -> None:
    answer = parse(data)
    assert isinstance(answer, Response)
    assert answer.truncated
    assert not answer.reusable
    assert len(answer.body) == SMALL.body


def test_a_body_of_just_the_limit_is_whole() -> None:
    answer = parse(message(f"HTTP/1.1 200 OK\nContent-Length: {SMALL.body}", b"x" * SMALL.body))
    assert isinstance(answer, Response)
    assert not answer.truncated
    assert answer.reusable


def test_bytes_after_the_end_are_noticed() -> None:
    parser = ResponseParser()
    parser.feed(message("HTTP/1.1 200 OK\nContent-Length: 2", b"ok"))
    assert not parser.surplus
    parser.feed(message("HTTP/1.1 200 OK"))
    assert parser.surplus


def test_headers_are_found_by_their_lower_case_name() -> None:
    answer = parse(message("HTTP/1.1 200 OK\nRetry-After: \t 7 \nretry-after: 8\nContent-Length: 0"))
    assert isinstance(answer, Response)
    assert answer.header("retry-after") == "7"
    assert answer.header("x-none") == ""


EVERY = [data for data, *_ in GOOD.values()] + list(BAD.values())
HEADS = st.lists(
    st.sampled_from([
        "Content-Length: 3", "Content-Length: 99", "Transfer-Encoding: chunked", "Connection: close",
        "X:", "X: y\r\n z", "A b: c",
    ]),
    max_size=3,
).map(lambda lines: "\r\n".join(["HTTP/1.1 200 OK", *lines]).encode())  # fmt: skip
BODIES = st.lists(
    st.sampled_from([b"3\r\nabc\r\n", b"0\r\n", b"\r\n", b"\n", b"ffffffffffff\r\n", b"xyz", b"HTTP/1.1 200 OK\r\n"])
).map(b"".join)
MESSAGES = st.one_of(
    st.sampled_from(EVERY),
    st.tuples(HEADS, BODIES).map(b"\r\n\r\n".join),
    st.binary(max_size=400),
)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


@given(MESSAGES, st.lists(st.integers(min_value=0, max_value=5000), max_size=20), st.booleans())
def test_how_the_bytes_are_cut_makes_no_difference(data: bytes, places: list[int], end: bool) -> None:
    whole = parse(data, end=end)
    assert parse(*cut(data, places), end=end) == whole
    assert parse(b"", *(data[place : place + 1] for place in range(len(data))), end=end) == whole


@given(st.binary(max_size=3000))
def test_nothing_but_a_backend_error_is_ever_raised(data: bytes) -> None:
    parse(b"HTTP/1.1 " + data, end=True)
