"""Redis as it is run to be highly available: a master with a replica and three Sentinels, and a Cluster of three."""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import redis

from tests.support.stores import RedisServer
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOWN_AFTER = 300
"""Milliseconds of silence after which a Sentinel takes a server for down."""

NODE_TIMEOUT = 500
"""Milliseconds of silence after which a node takes another one for down."""


def ask(port: int, *words: str | int) -> Any:
    """The answer of the server that listens there."""
    with redis.Redis(port=port, socket_timeout=2, protocol=2) as client:
        return client.execute_command(*words)


class SentinelServer(RedisServer):
    """One Sentinel. It keeps what it knows in a file of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.id = secrets.token_hex(20)
        self._file = folder / f"sentinel-{self.port}.conf"

    def configure(self, *lines: str) -> None:
        own = (f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}", f"sentinel myid {self.id}")
        self._file.write_text("\n".join((*own, *lines, "")))

    def _arguments(self) -> list[str]:
        return [str(self._file), "--sentinel"]

    def _pid_that_answers(self) -> int:
        found = re.search(r"process_id:(\d+)", self._ask(b"INFO server\r\nPING\r\n", rb"\+PONG\r\n"))
        return int(found[1]) if found else 0


class Watched:
    """A master and its replica, watched by three Sentinels as `shop`."""

    def __init__(self, folder: Path) -> None:
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self.master = RedisServer(folder, *quick)
        self.replica = RedisServer(folder, *quick, "--replicaof", "127.0.0.1", str(self.master.port))
        self.sentinels = [SentinelServer(folder) for _ in range(3)]
        for sentinel in self.sentinels:
            # They would find out by themselves who else there is, in two seconds.
            others = [other for other in self.sentinels if other is not sentinel]
            sentinel.configure(
                f"sentinel monitor shop 127.0.0.1 {self.master.port} 2",
                f"sentinel down-after-milliseconds shop {DOWN_AFTER}",
                "sentinel failover-timeout shop 3000",
                f"sentinel known-replica shop 127.0.0.1 {self.replica.port}",
                *(f"sentinel known-sentinel shop 127.0.0.1 {other.port} {other.id}" for other in others),
            )
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + "/shop/0"

    def named(self, sentinel: SentinelServer) -> int:
        """The port of the master that this Sentinel names."""
        return int(ask(sentinel.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")[1])

    def rename(self, *sentinels: SentinelServer) -> None:
        """Have these name the replica, which is a master from now on, without a word to anybody else."""
        ask(self.replica.port, "REPLICAOF", "NO", "ONE")
        for sentinel in sentinels:
            ask(sentinel.port, "SENTINEL", "REMOVE", "shop")
            ask(sentinel.port, "SENTINEL", "MONITOR", "shop", "127.0.0.1", self.replica.port, 2)

    def __enter__(self) -> Self:
        for server in (self.master, self.replica, *self.sentinels):
            self._stack.callback(server.kill)
            server.start()
        wait_until(lambda: ask(self.replica.port, "ROLE")[3] == b"connected", why="the replica has its master's data")
        wait_until(lambda: all(self._knows_all(one) for one in self.sentinels), why="the Sentinels know each other")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _knows_all(self, sentinel: SentinelServer) -> bool:
        words = [word.decode() for word in ask(sentinel.port, "SENTINEL", "MASTER", "shop")]
        facts = dict(zip(words[::2], words[1::2], strict=True))
        return bool(facts["num-other-sentinels"] == "2" and facts["num-slaves"] == "1")


class Cluster:
    """Three masters, without replicas. What is left of it goes on when one is away."""

    def __init__(self, folder: Path) -> None:
        self._buses = [free_port() for _ in range(3)]  # the usual one, 10,000 above, belongs to passing connections
        self.nodes = [RedisServer(folder, *self._options(number, bus)) for number, bus in enumerate(self._buses)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def of(self, port: int) -> RedisServer:
        """The node that listens there."""
        return next(node for node in self.nodes if node.port == port)

    def others(self, node: RedisServer) -> Iterator[RedisServer]:
        return (other for other in self.nodes if other is not node)

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.callback(node.kill)
            node.start()
        first, *rest = self.nodes
        for number, node in enumerate(self.nodes):
            low, high = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            ask(node.port, "CLUSTER", "ADDSLOTSRANGE", low, high)
        for node in rest:
            ask(node.port, "CLUSTER", "MEET", "127.0.0.1", first.port, self._buses[0])
        wait_until(lambda: all(self.is_whole(node) for node in self.nodes), 20, "the Cluster has come together")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def is_whole(node: RedisServer) -> bool:
        """Whether this node sees all the others."""
        info = ask(node.port, "CLUSTER", "INFO").decode()
        return "cluster_state:ok" in info and "cluster_known_nodes:3" in info

    @staticmethod
    def _options(number: int, bus: int) -> tuple[str, ...]:
        file = f"nodes-{number}-{bus}.conf"
        enabled = ("--cluster-enabled", "yes", "--cluster-config-file", file, "--cluster-port", str(bus))
        return (*enabled, "--cluster-node-timeout", str(NODE_TIMEOUT), "--cluster-require-full-coverage", "no")
