"""HTTP/1.1 responses from bytes: strict, bounded, and without any I/O.

Strict, because a response that two readers could end at different bytes puts every later answer of that connection
next to the wrong request. Bounded, because the other end may be anybody's error page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from invalidator.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9]\d\d)(?: " + _TEXT + rb")?((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:" + _TEXT + rb")*)"
)
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;" + _TEXT + rb")?")
_START = b"HTTP/1."
_MAX_CHUNK_LINE = 256
_MAX_INTERIM = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes: a head (or the trailers) longer than `head` is an error; of a body no more than `body` is read."""

    head: int = 16 * 1024
    body: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A final answer. Header names are lower case. `reusable`: the connection may carry another request.

    `truncated`: the body went on beyond the limit and was left unread.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reusable: bool = True
    truncated: bool = False

    def header(self, name: str) -> str:
        """The first value of a header (name in lower case), or ""."""
        return next((value for known, value in self.headers if known == name), "")


class ResponseParser:
    """Reads one response. How its bytes are cut into pieces makes no difference to what comes out."""

    def __init__(self, *, head: bool = False, limits: Limits | None = None) -> None:
        """`head`: this answers a HEAD request, and has no body whatever its headers say."""
        self.started = False
        """Whether any byte has arrived."""
        self._head_only = head
        self._limits = limits or Limits()
        self._buffer = bytearray()
        self._body = bytearray()
        self._left = 0
        self._interim = 0
        self._trailer = 0
        self._partial = Response(0)
        self._response: Response | None = None
        self._step: Callable[[], bool] = self._read_head

    @property
    def surplus(self) -> bool:
        """Whether bytes came after the end of the response, which nobody asked for."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; give the response once it is complete. Raises BackendError `protocol` for what is no HTTP/1.1."""
        self.started = self.started or bool(data)
        self._buffer += data
        done = self._response is not None
        while not done:
            done = not self._step() or self._response is not None
        return self._response

    def end(self) -> Response:
        """The connection has ended: the response, if that is how it was to end. Raises BackendError `closed` if not."""
        if self._response is None:
            if self._step != self._read_until_end:
                raise BackendError("closed", "the connection ended before the response did")
            return self._finish()
        return self._response

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, self._limits.head)
        if end < 0:
            if not self._buffer.startswith(_START[: len(self._buffer)]):
                raise _garbage("is not HTTP/1.1")
            return self._wait(self._limits.head, "has too long a head")
        match = _HEAD.fullmatch(bytes(self._buffer[:end]))
        if match is None:
            raise _garbage("has a malformed head")
        del self._buffer[: end + 4]
        status, headers = int(match[2]), _headers(match[3])
        if status >= 200:
            self._begin(status, headers, minor=match[1])
            return True
        self._interim += 1
        if status == 101 or self._interim > _MAX_INTERIM:
            raise _garbage("has an interim answer that nobody asked for")
        return True

    def _begin(self, status: int, headers: tuple[tuple[str, str], ...], *, minor: bytes) -> None:
        """Decide how the body ends."""
        lengths = [value for name, value in headers if name == "content-length"]
        codings = [value for name, value in headers if name == "transfer-encoding"]
        options = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
        reusable = "close" not in options if minor == b"1" else "keep-alive" in options
        if len(lengths) + len(codings) > 1 or (codings and (minor == b"0" or codings[0].lower() != "chunked")):
            raise _garbage("is ambiguous about its length")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise _garbage("has a malformed length")
        self._partial = Response(status, headers, reusable=reusable)
        if self._head_only or status in {204, 304}:
            self._finish()
        elif codings:
            self._step = self._read_chunk_size
        elif lengths:
            self._left = int(lengths[0])
            self._step = self._read_sized
        else:
            self._partial = replace(self._partial, reusable=False)
            self._step = self._read_until_end

    def _read_sized(self) -> bool:
        self._take(self._left)
        if not self._left and self._response is None:
            self._finish()
        return False

    def _read_until_end(self) -> bool:
        self._left = len(self._buffer)
        self._take(self._left)
        return False

    def _read_chunk_size(self) -> bool:
        line = self._line(_MAX_CHUNK_LINE)
        if line is None:
            return False
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise _garbage("has a malformed chunk")
        self._left = int(match[1], 16)
        self._step = self._read_chunk if self._left else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        self._take(self._left)
        if self._left or self._response is not None:
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise _garbage("has a chunk without an end")
        if len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        line = self._line(self._limits.head)
        if line is None:
            return False
        self._trailer += len(line)
        if self._trailer > self._limits.head:
            raise _garbage("has too long a trailer")
        if not line:
            self._finish()
        return True

    def _line(self, limit: int) -> bytes | None:
        """The next line, without its end; None while it is incomplete."""
        end = self._buffer.find(b"\r\n", 0, limit)
        if end < 0:
            self._wait(limit, "has too long a line")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _wait(self, limit: int, what: str) -> bool:
        if len(self._buffer) >= limit:
            raise _garbage(what)
        return False

    def _take(self, count: int) -> None:
        """Move up to `count` bytes into the body. At the limit the response is complete, and the rest stays unread."""
        room = self._limits.body - len(self._body)
        part = self._buffer[: min(count, room)]
        self._body += part
        del self._buffer[: len(part)]
        self._left -= len(part)
        if self._left and len(part) == room:
            self._partial = replace(self._partial, reusable=False, truncated=True)
            self._finish()

    def _finish(self) -> Response:
        self._response = replace(self._partial, body=bytes(self._body))
        return self._response


def _headers(block: bytes) -> tuple[tuple[str, str], ...]:
    pairs = (line.partition(":") for line in block.decode("latin-1").split("\r\n")[1:])
    return tuple((name.lower(), value.strip(" \t")) for name, _, value in pairs)


def _garbage(what: str) -> BackendError:
    return BackendError("protocol", f"the answer {what}")
