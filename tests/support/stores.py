"""Redis and memcached for tests: those of `invalidator.embedded`, on ports that stay free while a server is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from invalidator import embedded
from tests.support.required import require
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path


class RedisServer(embedded.RedisServer):
    """A Redis-compatible server that may have a password; its `url` then carries it."""

    def __init__(self, folder: Path, *config: str, password: str = "", unix: bool = False) -> None:
        program = require("redis")
        config += ("--requirepass", password) if password else ()
        super().__init__(program, folder, config, unix=unix)
        self.port = 0 if unix else free_port()
        self.password = password

    @property
    def url(self) -> str:
        url = super().url
        return url.replace("://", f"://:{self.password}@", 1) if self.password else url


class MemcachedServer(embedded.MemcachedServer):
    """A memcached, and what an application does with it: `set` and `get`, not through the code that is being tested."""

    def __init__(self, folder: Path, *options: str, unix: bool = False) -> None:
        program = require("memcached")
        super().__init__(program, folder, options, unix=unix)
        self.port = 0 if unix else free_port()

    def set(self, key: str, value: str) -> None:
        data = value.encode()
        reply = self._ask(b"set %b 0 0 %d\r\n%b\r\n" % (key.encode(), len(data), data), rb"\r\n")
        assert reply == "STORED\r\n", reply

    def get(self, key: str) -> str | None:
        """What is stored; None when nothing is."""
        reply = self._ask(b"get %b\r\n" % key.encode(), rb"(^|\n)END\r\n$")
        return reply.split("\r\n")[1] if reply.startswith("VALUE") else None


def publish(server: RedisServer, channel: str, payload: str) -> None:
    """As an application does. Somebody has to hear it: for what nobody hears, a test would wait in vain."""
    with redis.Redis.from_url(server.url) as client:
        assert client.publish(channel, payload)
