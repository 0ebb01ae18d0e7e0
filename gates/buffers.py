"""What Redis has to keep for its subscribers: CLIENT LIST, again and again, and the most that was ever seen in it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hiredis

from benchmarks.peers.peer import CHUNK, connected

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping

FIELDS = ("id", "omem", "tot-mem", "obl", "oll")
"""Of a connection: its number; bytes of its output list, and of all that it has of Redis' memory; bytes in the fixed
output buffer; entries of the output list."""
_FIELD = re.compile(r"([a-z-]+)=(\S*)")
_PATIENCE = 10.0


@dataclass(slots=True)
class High:
    """The most that any subscriber had, in so many samples. `ids` are the connections that were seen."""

    samples: int = 0
    marks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS[1:], 0))
    ids: set[int] = field(default_factory=set)

    @property
    def omem(self) -> int:
        """What counts against the output-buffer limit."""
        return self.marks["omem"]

    def take(self, subscribers: Iterable[Mapping[str, int]]) -> None:
        """One sample."""
        self.samples += 1
        for one in subscribers:
            self.ids.add(one["id"])
            for name in self.marks:
                self.marks[name] = max(self.marks[name], one[name])


def parsed(listing: str) -> list[dict[str, int]]:
    """One of these for each line of CLIENT LIST. Raises KeyError where Redis does not say one."""
    lines = [dict(_FIELD.findall(line)) for line in listing.splitlines() if line]
    return [{name: int(line[name]) for name in FIELDS} for line in lines]


def limit_of(setting: str) -> tuple[int, int, int]:
    """Of `client-output-buffer-limit`: hard and soft, in bytes, and the seconds of the latter, for subscribers."""
    words = setting.split()
    place = words.index("pubsub")
    hard, soft, seconds = map(int, words[place + 1 : place + 4])
    return hard, soft, seconds


class Watch:
    """A connection that asks, and is no subscriber itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = hiredis.Reader(encoding="utf-8")

    def limit(self) -> tuple[int, int, int]:
        """What this Redis has for `limit_of`."""
        said = self._ask(b"CONFIG GET client-output-buffer-limit\r\n")
        assert isinstance(said, list), said
        return limit_of(said[1])

    def subscribers(self) -> list[dict[str, int]]:
        """All of this moment."""
        said = self._ask(b"CLIENT LIST TYPE pubsub\r\n")
        assert isinstance(said, str), said
        return parsed(said)

    def _ask(self, question: bytes) -> object:
        self._connection.sendall(question)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._connection.recv(CHUNK))
        return reply


@contextmanager
def watching(port: int) -> Iterator[Watch]:
    """Until the end of the block."""
    with connected(port) as connection:
        connection.settimeout(_PATIENCE)
        yield Watch(connection)
