"""Where the messages go: a Redis, and the ways to it that a fault may need between it and the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chaos.proxy import Proxy
from chaos.sentinels import Sentinels
from invalidator.embedded import free_port, redis_server

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from invalidator.embedded import RedisServer

Way = Literal["plain", "apart", "user", "proxy", "sentinel"]
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "always")
APART = "127.0.0.2"
"""The address at which the daemon finds Redis, and nobody else: so that its packets alone can be dropped."""
USER, PASSWORD = "daemon", "first-password"
"""The daemon's own user of Redis: so that it alone can be shut out."""


@dataclass(slots=True)
class Broker:
    """`url` is for publishers, `daemon_url` for the daemon; `server` is the Redis that holds the data at first."""

    server: RedisServer
    url: str
    daemon_url: str
    password_file: Path | None = None
    proxy: Proxy | None = None
    sentinels: Sentinels | None = None
    others: tuple[RedisServer, ...] = ()

    def current(self) -> RedisServer:
        """The one that new messages go to."""
        at = self.sentinels.master() if self.sentinels else self.proxy.chosen if self.proxy else self.server.port
        return next((server for server in (self.server, *self.others) if server.port == at), self.server)


def opened(stack: ExitStack, folder: Path, way: Way, *, journal: bool) -> Broker:
    """A broker that answers, until the stack ends."""
    options: tuple[str, ...] = PERSISTENT if journal else ()
    if way == "sentinel":
        return _watched(stack, folder, options)
    if way == "apart":
        options += ("--bind", "127.0.0.1", APART)
    if way == "user":  # it is there again when the server is
        options += ("--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    server = stack.enter_context(redis_server(folder, *options))
    broker = Broker(server, server.url, server.url)
    if way == "apart":
        broker.daemon_url = f"redis://{APART}:{server.port}/0"
    elif way == "user":
        broker.daemon_url = f"redis://{USER}@{server.address}/0"
        broker.password_file = folder / "password"
        broker.password_file.write_text(PASSWORD)
        broker.password_file.chmod(0o600)
    elif way == "proxy":
        (folder / "other").mkdir()
        other = stack.enter_context(redis_server(folder / "other", *options))
        broker.others = (other,)
        broker.proxy = Proxy(folder, free_port(), {"first": server.port, "second": other.port})
        stack.callback(broker.proxy.kill)
        broker.proxy.start()
        broker.url = broker.daemon_url = f"redis://{broker.proxy.address}/0"
    return broker


def _watched(stack: ExitStack, folder: Path, options: tuple[str, ...]) -> Broker:
    master = stack.enter_context(redis_server(folder, *options))
    (folder / "replica").mkdir()
    following = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
    replica = stack.enter_context(redis_server(folder / "replica", *options, *following))
    sentinels = Sentinels(stack, folder, master.port)
    sentinels.await_replica()
    return Broker(master, sentinels.url, sentinels.url, sentinels=sentinels, others=(replica,))
