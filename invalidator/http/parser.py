"""HTTP/1.1 responses from bytes: strict, bounded, and without any I/O.

Strict, because a response that two readers could end at different bytes puts every later answer of that connection
next to the wrong request. Bounded, because the other end may be anybody's error page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.errors import BackendError
from invalidator.http.response import HEAD, TEXT, Limits, Response

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;" + TEXT + rb")?")
_START = b"HTTP/1."
_MAX_CHUNK_LINE = 256
_MAX_INTERIM = 8


class ResponseParser:
    """Reads one response. How its bytes are cut into pieces makes no difference to what comes out."""

    def __init__(self, *, head: bool = False, limits: Limits | None = None) -> None:
        """`head`: this answers a HEAD request, and has no body whatever its headers say."""
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
    def surplus(self) -> bytes:
        """What came after the end of the response."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; give the response once it is complete. Raises BackendError `protocol` for what is no HTTP/1.1."""
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
        match = HEAD.fullmatch(bytes(self._buffer[:end]))
        if match is None:
            raise _garbage("has a malformed head")
        del self._buffer[: end + 4]
        response = Response(int(match[2]), match[3])
        if response.status >= 200:
            self._begin(response, minor=match[1])
            return True
        self._interim += 1
        if response.status == 101 or self._interim > _MAX_INTERIM:
            raise _garbage("has an interim answer that nobody asked for")
        return True

    def _begin(self, response: Response, *, minor: bytes) -> None:
        """Decide how the body ends."""
        headers = response.headers
        lengths = [value for name, value in headers if name == "content-length"]
        codings = [value for name, value in headers if name == "transfer-encoding"]
        options = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
        reusable = "close" not in options if minor == b"1" else "keep-alive" in options
        if len(lengths) + len(codings) > 1 or (codings and (minor == b"0" or codings[0].lower() != "chunked")):
            raise _garbage("is ambiguous about its length")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise _garbage("has a malformed length")
        self._partial = response._replace(reusable=reusable)
        if self._head_only or response.status in {204, 304}:
            self._finish()
        elif codings:
            self._step = self._read_chunk_size
        elif lengths:
            self._left = int(lengths[0])
            self._step = self._read_sized
        else:
            self._partial = self._partial._replace(reusable=False)
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
            self._partial = self._partial._replace(reusable=False, truncated=True)
            self._finish()

    def _finish(self) -> Response:
        self._response = self._partial._replace(body=bytes(self._body))
        return self._response


def _garbage(what: str) -> BackendError:
    return BackendError("protocol", f"the answer {what}")
