"""What is in a cache before it is purged, and how much is left: a memcached or a Redis, in bulk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.peers.peer import CHUNK, connected
from benchmarks.publisher import key
from invalidator.embedded import MemcachedServer

if TYPE_CHECKING:
    import socket

    from invalidator.embedded import Server

_AT_ONCE = 1000


def fill(cache: Server, count: int) -> None:
    """`k:0` to `k:COUNT`, each with a value of one byte. `count` is a multiple of 1,000, or less than that."""
    one = b"ms %b 1 q\r\n1\r\n" if isinstance(cache, MemcachedServer) else b"SET %b 1\r\n"
    end = (b"mn\r\n", b"MN\r\n") if isinstance(cache, MemcachedServer) else (b"ECHO filled\r\n", b"filled\r\n")
    with connected(cache.port) as connection:
        for first in range(0, count, _AT_ONCE):
            names = range(first, min(first + _AT_ONCE, count))
            connection.sendall(b"".join(one % key(name).encode() for name in names) + end[0])
            _hear(connection, end[1])


def size(cache: Server) -> int:
    """How many entries it has."""
    with connected(cache.port) as connection:
        if isinstance(cache, MemcachedServer):
            connection.sendall(b"stats\r\n")
            found = re.search(rb"STAT curr_items (\d+)", _hear(connection, b"END\r\n"))
        else:
            connection.sendall(b"DBSIZE\r\n")
            found = re.search(rb":(\d+)", _hear(connection, b"\r\n"))
    assert found is not None
    return int(found[1])


def _hear(connection: socket.socket, end: bytes) -> bytes:
    answer = b""
    while not answer.endswith(end):
        chunk = connection.recv(CHUNK)
        assert chunk, "the cache has hung up"
        answer += chunk
    return answer
