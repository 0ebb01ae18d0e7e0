"""What lies behind the HTTP cache: answers every path with the version that is true now.

Runs as `python -m chaos.origin TRUTH`, prints the address that it listens on, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.stage import truth
from invalidator.stage.http_cache import TAG

if TYPE_CHECKING:
    from invalidator.stage.truth import Truth

_REQUEST = re.compile(rb"GET /(\S*) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n")
_ANSWER = "HTTP/1.1 {status}\r\nContent-Length: {size}\r\nCache-Control: max-age=86400\r\nxkey: {tag}\r\n\r\n{body}"


class Conversation(asyncio.Protocol):
    """One connection of the cache, kept alive."""

    def __init__(self, database: Truth) -> None:
        self._database = database
        self._known = frozenset(database.keys)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._rest += data
        end = 0
        for request in _REQUEST.finditer(self._rest):
            self._transport.write(self._answer(request[1].decode()))
            end = request.end()
        self._rest = self._rest[end:]

    def _answer(self, key: str) -> bytes:
        known = key in self._known
        body = f"{self._database.version(key)}\n" if known else "-\n"
        status = "200 OK" if known else "404 Not Found"
        return _ANSWER.format(status=status, size=len(body), tag=TAG, body=body).encode()


def _at_end(ended: asyncio.Future[None]) -> None:
    if not sys.stdin.read() and not ended.done():
        ended.set_result(None)


async def _serve(database: Truth) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(database), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sys.stdin, lambda: _at_end(ended))
    await ended
    server.close()


if __name__ == "__main__":
    with truth.opened(Path(sys.argv[1])) as opened:
        asyncio.run(_serve(opened))
