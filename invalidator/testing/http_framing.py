"""Reads HTTP/1.1 requests as strictly as the text of RFC 9112 allows: a fake is no place for tolerance."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,12}")
_ONCE = {"host", "content-length", "content-type", "authorization", "fastly-key"}

LONGEST_LINE = 64 * 1024
"""Bytes of one line. Our own bound, not a vendor's: what is longer is an error of the client's."""

MOST_HEADERS = 100
LARGEST_BODY = 16 * 1024 * 1024
"""Bytes. Our own bound: far above any body that the vendors' limits allow."""


class MalformedRequestError(Exception):
    """What arrived is not a request that a server has to understand: the text says why. Ends the connection."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Names of headers are in small letters; the target is exactly what was sent."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be said, and what the call was: `kind` and `count` of an accepted purge, `reason` of a refusal."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    kind: str = ""
    count: int = 0
    soft: bool = False

    def encode(self, *, close: bool = False) -> bytes:
        """Its bytes on the wire; `close`: with the word that the connection ends."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        fields = [*self.headers, ("Content-Length", str(len(self.body))), *([("Connection", "close")] if close else [])]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"HTTP/1.1 {self.status} {phrase}\r\n{head}\r\n".encode("latin-1") + self.body


def json_answer(status: int, value: Any, *, headers: tuple[tuple[str, str], ...] = (), reason: str = "") -> Answer:
    """`value` as JSON; `reason` says why the call was refused, if it was."""
    return Answer(status, json.dumps(value).encode(), (("Content-Type", "application/json"), *headers), reason)


def html_answer(status: int, text: str, *, headers: tuple[tuple[str, str], ...] = (), reason: str = "") -> Answer:
    """What a proxy in front of the API says when it has no answer from behind."""
    page = f"<html><head><title>{status}</title></head><body><h1>{text}</h1></body></html>\n"
    return Answer(status, page.encode(), (("Content-Type", "text/html"), *headers), reason)


def read_request(stream: BinaryIO) -> Request | None:
    """The next request; None at an orderly end. Raises MalformedRequestError, and EOFError at an end in the middle."""
    line = _line(stream, first=True)
    if line is None:
        return None
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise MalformedRequestError(f"not a request line of HTTP/1.1: {line[:80]!r}")
    headers = _headers(stream)
    if "host" not in headers:
        raise MalformedRequestError("no Host header")
    return Request(found[1].decode(), found[2].decode(), headers, _body(stream, headers))


def _headers(stream: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS + 1):
        line = _line(stream)
        if not line:
            return headers
        before, colon, after = line.partition(b":")
        if not colon or not _NAME.fullmatch(before) or _FORBIDDEN.search(after):
            raise MalformedRequestError(f"not a header: {before[:40]!r}")
        name, value = before.decode().lower(), after.strip(b" \t").decode("latin-1")
        if name in headers and name in _ONCE:
            raise MalformedRequestError(f"{name} was sent twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise MalformedRequestError(f"more than {MOST_HEADERS} headers", 431)


def _body(stream: BinaryIO, headers: Mapping[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        raise MalformedRequestError(
            "a body without Content-Length: these APIs are sent small JSON of a known length", 411
        )
    length = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        raise MalformedRequestError(f"not a Content-Length: {length[:40]!r}")
    if int(length) > LARGEST_BODY:
        raise MalformedRequestError(f"a body of {length} bytes", 413)
    body = stream.read(int(length))
    if len(body) < int(length):
        raise EOFError(f"{len(body)} of {length} bytes of the body, and the end")
    return body


def _line(stream: BinaryIO, *, first: bool = False) -> bytes | None:
    line = stream.readline(LONGEST_LINE + 1)
    if not line and first:
        return None
    if len(line) > LONGEST_LINE:
        raise MalformedRequestError(f"a line of more than {LONGEST_LINE} bytes", 431)
    if not line.endswith(b"\n"):
        raise EOFError(f"the end in the middle of a line: {line[:40]!r}")
    if not line.endswith(b"\r\n"):
        raise MalformedRequestError(f"a line that ends without CR: {line[:40].partition(b':')[0]!r}")
    return line[:-2]
