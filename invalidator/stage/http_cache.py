"""A small HTTP cache with a process of its own: GET, PURGE of a path, PURGE by tag as Varnish's xkey does it, no TTL.

Its origin is the truth. It runs on loopback as `python -m invalidator.stage.http_cache TRUTH PORT`, until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.stage import truth

if TYPE_CHECKING:
    from collections.abc import Sequence

TAG = "product"
FETCH = 0.002
"""Seconds from the origin's answer to its place in the cache: time enough for a purge to come in between."""

_REQUEST = re.compile(rb"(GET|PURGE) /(\S*) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n")
_XKEY = re.compile(rb"(?i)^xkey: *([^\r]*)", re.MULTILINE)


class Cache:
    """Versions by path. What has been fetched but not stored yet is purged as well, or it would be stored stale."""

    def __init__(self, origin: truth.Truth) -> None:
        self._origin = origin
        self._known = frozenset(origin.keys)
        self._held: dict[str, int] = {}
        self._arriving: dict[str, int] = {}

    def get(self, key: str, *, only_if_cached: bool) -> int | None:
        """The version to answer with; None if there is none."""
        version = self._held.get(key)
        if version is None and not only_if_cached and key in self._known:
            version = self._origin.version(key)
            self._arriving[key] = version
            asyncio.get_running_loop().call_later(FETCH, self._store, key, version)
        return version

    def purge(self, key: str) -> bool:
        """Forget one path; whether there was anything."""
        return any([self._held.pop(key, None) is not None, self._arriving.pop(key, None) is not None])

    def purge_tags(self, tags: Sequence[str]) -> bool:
        """Forget what carries one of these tags. Here everything carries the same."""
        if TAG not in tags:
            return False
        self._held.clear()
        self._arriving.clear()
        return True

    def _store(self, key: str, version: int) -> None:
        if self._arriving.get(key) == version:
            del self._arriving[key]
            self._held[key] = version


class Conversation(asyncio.Protocol):
    """One connection, kept alive and pipelined: every request is answered at once, in its order."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- for the type checker: TCP gives no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete; part with who sends anything else."""
        self._rest += data
        answers, end = [], 0
        while request := _REQUEST.match(self._rest, end):
            answers.append(self._answer(request[1], request[2].decode("latin-1"), request[3]))
            end = request.end()
        self._rest = self._rest[end:]
        self._transport.write(b"".join(answers))
        if b"\r\n\r\n" in self._rest:
            self._transport.close()

    def _answer(self, method: bytes, key: str, headers: bytes) -> bytes:
        if method == b"GET":
            version = self._cache.get(key, only_if_cached=b"only-if-cached" in headers)
            return _response(b"504 Not Cached", b"-") if version is None else _response(b"200 OK", b"%d" % version)
        xkey = _XKEY.search(headers)
        found = self._cache.purge_tags(xkey[1].decode("latin-1").split()) if xkey else self._cache.purge(key)
        return _response(b"200 Purged" if found else b"404 Not Cached", b"-")


def _response(status: bytes, body: bytes) -> bytes:
    # The pid: who starts us must know that it is us who answer, and not somebody else who had this port before.
    headers = b"Content-Length: %d\r\nxkey: %b\r\npid: %d" % (len(body) + 1, TAG.encode(), os.getpid())
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b\n" % (status, headers, body)


async def _serve(path: Path, port: int) -> None:
    with truth.opened(path) as origin:
        cache = Cache(origin)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Conversation(cache), "127.0.0.1", port)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
