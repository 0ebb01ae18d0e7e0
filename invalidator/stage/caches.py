"""The caches on the stage, one of each kind that this machine has the plugin and the server for."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invalidator.embedded import Server, find_memcached, memcached_server, redis_server, running
from invalidator.errors import UnreachableError
from invalidator.stage import http_cache, truth

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

KINDS = ("lru", "redis", "memcached", "http")

FLUSHES: Mapping[str, Mapping[str, Any]] = {
    "lru": {"flush": {"all": True}},
    "redis": {"flush": {"prefix": truth.PREFIX}},
    "memcached": {"flush": {"all": True}},
    "http": {"flush": {"tags": [http_cache.TAG]}},
}
"""How each kind of cache forgets all products."""


@dataclass
class Caches:
    """What there is. `addresses` has what a store is opened with, `servers` the processes, each by the kind of cache.

    An `lru` has no server: it is memory of the application. `absent` says in a sentence why a kind is not there.
    """

    addresses: dict[str, str] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def backends(self) -> dict[str, dict[str, Any]]:
        """A topology's `backends`."""
        options: dict[str, Mapping[str, Any]] = {
            "lru": {"path": self.addresses.get("lru")},
            "redis": {"url": self.addresses.get("redis")},
            "memcached": {"servers": [self.addresses.get("memcached")]},
            "http": {"targets": [f"http://{self.addresses.get('http')}"], "path": "/{key}", "tag_header": "xkey"},
        }
        return {kind: {"type": kind, **options[kind]} for kind in self.addresses}


class HttpCache(Server):
    """A server process of http_cache.py."""

    name = "http-cache"

    def __init__(self, directory: Path, truth: Path) -> None:
        super().__init__(Path(sys.executable), directory, (), unix=False)
        self._truth = truth

    def _arguments(self) -> list[str]:
        return ["-m", "invalidator.stage.http_cache", str(self._truth), str(self.port)]

    def _pid_that_answers(self) -> int:
        with closing(self.connect()) as line, line.makefile("rb") as answer:
            line.sendall(b"GET /-/pid HTTP/1.1\r\n\r\n")
            answer.readline()
            return int(dict(header.split(b": ", 1) for header in iter(answer.readline, b"\r\n"))[b"pid"])


def start_caches(stack: ExitStack, directory: Path, database: Path) -> Caches:
    """All that can be had, until the stack ends. Raises UnreachableError when there is none at all."""
    installed = {point.name for point in entry_points(group="invalidator")}
    caches = Caches(
        absent=[f"{kind}: no plugin (pip install invalidator-{kind})" for kind in KINDS if kind not in installed]
    )
    if "lru" in installed:
        caches.addresses["lru"] = str(directory / "shop.gen")
    if "redis" in installed:
        replica = directory / "replica"
        replica.mkdir()
        caches.servers["redis"] = server = stack.enter_context(redis_server(replica))
        caches.addresses["redis"] = server.url
    if "memcached" in installed and find_memcached():
        caches.servers["memcached"] = memcached = stack.enter_context(memcached_server(directory))
        caches.addresses["memcached"] = memcached.address
    elif "memcached" in installed:
        caches.absent.append("memcached: no server (install your system's package memcached)")
    if "http" in installed:
        caches.servers["http"] = cache = stack.enter_context(running(lambda: HttpCache(directory, database)))
        caches.addresses["http"] = cache.address
    if not caches.addresses:
        raise UnreachableError("there is no cache to show: " + "; ".join(caches.absent))
    return caches
