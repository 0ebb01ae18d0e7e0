"""The short way to an answer that is nothing special, which nearly all are. Pure.

The parser is the authority: whatever is not plainly whole here goes to it, and what is, it would have read the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from invalidator.http.response import HEAD, Limits, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|connection):[ \t]*([^\r]*)", re.IGNORECASE)
_LONGEST_LENGTH = 15


class Seen(NamedTuple):
    """A response, and where in the bytes it ends."""

    response: Response
    end: int


class Glance:
    """Reads what is whole, has a length, and leaves its connection open. To be shared by the connections of a pool."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._latest = b""
        self._response = Response(0)

    def at(self, data: bytes, start: int) -> Seen | None:
        """The response to anything but HEAD that begins at `start`; None: let the parser say what this is.

        The same bytes mean the same answer. Many servers say nothing new but the time, and that once a second.
        """
        if self._latest and data.startswith(self._latest, start):
            return Seen(self._response, start + len(self._latest))
        seen = _read(data, start, self.limits)
        if seen is not None:
            self._latest, self._response = data[start : seen.end], seen.response
        return seen


def _read(data: bytes, start: int, limits: Limits) -> Seen | None:
    end = data.find(b"\r\n\r\n", start, start + limits.head)
    head = HEAD.fullmatch(data, start, end) if end > 0 else None
    if head is None or head[1] != b"1":
        return None
    status = int(head[2])
    length = _length(_FRAMING.findall(data, head.start(3), end))
    stop = end + 4 + length
    if status < 200 or status in {204, 304} or not 0 <= length <= limits.body or stop > len(data):
        return None
    return Seen(Response(status, head[3], data[end + 4 : stop]), stop)


def _length(framing: Iterable[tuple[bytes, bytes]]) -> int:
    """What the one `Content-Length` says; -1 unless there is nothing else that bears on where the answer ends."""
    length = -1
    for name, value in framing:
        known = name.lower()
        if known == b"content-length" and length < 0 and value.isdigit() and len(value) <= _LONGEST_LENGTH:
            length = int(value)
        elif known != b"connection" or value.lower() != b"keep-alive":
            return -1
    return length
