"""A Redis Cluster, as far as a publisher uses it: what has a key goes to the node that owns it, the rest to any."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis, RedisCluster


def open_cluster(url: str, password: str | None, options: dict[str, Any]) -> Cluster:
    """Connects when it is first used. Raises ValueError for what is no such URL."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, secret = credentials.partition(":")
    if parts.query or parts.path.strip("/") not in ("", "0") or not hosts:
        raise ValueError("a Cluster has nodes, one database, and no options")
    named = [urlsplit(f"//{host}") for host in hosts.split(",")]
    addresses = [(node.hostname or "127.0.0.1", node.port or 6379) for node in named]
    own = {"username": unquote(username) or None, "password": password or unquote(secret) or None}

    def connect() -> RedisCluster:
        from redis import RedisCluster  # noqa: PLC0415 -- see client.py
        from redis.cluster import ClusterNode  # noqa: PLC0415

        nodes = [ClusterNode(host, port) for host, port in addresses]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **(options | own))

    return Cluster(connect)


class Cluster:
    """Its nodes: each is a client of its own, with pipelines that are sent at once."""

    def __init__(self, connect: Callable[[], RedisCluster]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._open: RedisCluster | None = None
        self._is_old = False

    def at(self, key: str) -> Redis:
        """The owner of this key; any node, where there is none: what is published at one is heard at all of them.

        Raises redis.RedisError or OSError when no node can be reached.
        """
        with self._lock, _told_apart():
            if self._open and self._is_old:
                self._open.nodes_manager.initialize()
            self._open = self._open or self._connect()
            self._is_old = False
            cluster: Any = self._open
            node = cluster.get_node_from_key(key) if key else cluster.get_default_node()
            return cast("Redis", cluster.get_redis_connection(node))

    def node(self, host: str, port: int) -> Redis:
        """The one that another one has named. Raises as `at`."""
        from redis.exceptions import ConnectionError as Unreachable  # noqa: PLC0415 -- see client.py

        with self._lock, _told_apart():
            cluster: Any = self._open
            node = cluster and cluster.get_node(host=host, port=port)
            if not node:
                raise Unreachable(f"a node of the Cluster has named {host}:{port}, which none has known before")
            return cast("Redis", cluster.get_redis_connection(node))

    def look_again(self, *, soon: bool = True) -> None:
        """Somebody was asked who is the right one no more. Raises as `at`.

        Not `soon`: before the next call, with the time of that. The map is left as it is, where nobody looks again: who
        has waited in vain for a node that hangs, or is cut off, would ask the same one for ever.
        """
        with self._lock, _told_apart():
            self._is_old = not soon
            if self._open and soon:
                self._open.nodes_manager.initialize()

    def close(self) -> None:
        """Give back the connections."""
        with self._lock:
            client, self._open = self._open, None
        if client is not None:
            client.close()


@contextmanager
def _told_apart() -> Iterator[None]:
    from redis import exceptions  # noqa: PLC0415 -- see client.py

    try:
        yield
    except exceptions.RedisClusterException as error:  # no RedisError, for once
        raise exceptions.ConnectionError(str(error)) from error
