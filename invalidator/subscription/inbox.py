"""What a connection has brought and nobody has looked at yet: chunks of bytes, each with the second of its arrival.

Reading comes first: everything that the socket holds is taken in before any of it is parsed, as parsing takes longer
and Redis disconnects a subscriber that reads too slowly.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.wire.connection import Link

READS_AT_ONCE = 512
FEW = 1024
"""Bytes of a read after which there was no more: when much arrives, there may be by then."""
LIMIT = 256 << 20
"""Bytes read and not yet parsed; at this bound we stop reading, and Redis decides."""

BITE = 16_384
"""Bytes that the parser gets at a time. It moves all that it holds to the front after each thousand that it has parsed:
with 64 KiB that takes a fifth of its time.
"""

NOT_YET = [object()]
"""What the parser gives in the place of a reply that is not whole. Nothing equals it: a reply of 0 equals False.

A list, as each reply is compared with it: from one that is a list of another length, it differs at once.
"""


class Inbox:
    """Of one connection after the other; a new one is heard only after the last word of the old one."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._reader = _reader()
        self.size = 0
        self.is_drained = False
        """Whether all was taken in that the connection had: what comes after that shows at its socket."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more."""
        return self.size >= LIMIT

    def oldest(self, otherwise: float) -> float:
        """When the first of what is still here arrived."""
        return self._chunks[0][0] if self._chunks else otherwise

    def begin(self) -> None:
        """The next bytes are those of a new connection. There are none of the old one left."""
        self._reader = _reader()
        self.is_drained = False

    def absorb(self, link: Link, now: float) -> bool:
        """Take in what there is; whether that was anything. Raises OSError, EOFError at the end of the stream."""
        some = self.is_drained = False
        for _ in range(READS_AT_ONCE):
            if self.is_full:
                break
            if (chunk := link.read()) is None:
                self.is_drained = True
                break
            if not chunk:
                raise EOFError("Redis closed the connection")
            some = True
            self._chunks.append((now, chunk))
            self.size += len(chunk)
            if len(chunk) < FEW and link.gives_all:
                self.is_drained = True
                break  # one more look would find nothing, and these would wait for it
        return some

    def replies(self) -> Iterator[Iterator[Any]]:
        """Chunk by chunk, the replies that are whole with it. Raises hiredis.HiredisError."""
        while self._chunks:
            _, chunk = self._chunks.popleft()
            self.size -= len(chunk)
            yield chain.from_iterable(self._of(chunk))

    def _of(self, chunk: bytes) -> Iterator[Iterator[Any]]:
        for start in range(0, len(chunk), BITE):
            self._reader.feed(chunk, start, min(BITE, len(chunk) - start))
            yield iter(self._reader.gets, NOT_YET)

    def forget(self) -> None:
        """What is left cannot be parsed."""
        self._chunks.clear()
        self.size = 0


def _reader() -> Any:
    return hiredis.Reader(notEnoughData=NOT_YET)
