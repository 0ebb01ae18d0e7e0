"""The way to a node of a Redis Cluster: any that can be reached and sees the majority, or the owner of one key.

Classic Pub/Sub is heard at every node, whichever it was published at: the nodes pass it on. So it does not matter where
we listen, as long as that node is not cut off from the others, which it itself may be the last to notice.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from redis.crc import key_slot

from invalidator.wire.identity import Address, exchange, is_list
from invalidator.wire.options import connection_options, credentials, over_tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Identity

MOST_NODES = 64
"""That are remembered: a Cluster of a thousand has more than enough of them."""


class ThroughCluster:
    """See Route. Goes to the owner of `key`; without a key, to any node, and to `avoid()` and the last one last."""

    relays = True

    def __init__(self, settings: RedisSettings, key: str, avoid: Callable[[], Address | None]) -> None:
        self._settings = settings
        self._seeds = [Address(host, port) for host, port in settings.url.hosts]
        self._slot = key_slot(key.encode()) if key else None
        self._avoid = avoid
        self._known: list[Address] = []
        self.at: Address | None = None

    def open(self, **options: Any) -> redis.Connection:
        """See Route. It is connected."""
        errors: list[Exception] = []
        for address in self._candidates():
            try:
                connection = self._joined(address, options)
            except (redis.RedisError, OSError) as error:
                errors.append(error)
                continue
            return connection
        refused = next((error for error in errors if isinstance(error, redis.AuthenticationError)), errors[-1])
        raise refused

    @property
    def nodes(self) -> tuple[Address, ...]:
        """Those that are known since a connection was opened."""
        return tuple(self._known)

    def open_at(self, address: Address, **options: Any) -> redis.Connection:
        """A connection to this node, not connected yet."""
        own = connection_options(self._settings) | over_tcp(self._settings.heartbeat.deadline)
        own |= credentials(self._settings) | options
        return redis.Connection(host=address.host, port=address.port, **own)

    def check(self, server: Identity, *, to_listen: bool) -> None:
        """A master's replica is as good as it: `open` has made sure that the node belongs to the majority."""

    def is_current(self, connection: redis.Connection) -> bool:
        """See Route. A node that is cut off from the others proves nothing about them."""
        # The subscription may have come to this node since; then nothing that is asked here shows what passes between.
        if self._slot is None and self.at == self._avoid() and any(node != self.at for node in self._known):
            return False
        return "cluster_state:ok" in _text(exchange(connection, [("CLUSTER", "INFO")])[0])

    def was_astray(self) -> bool:
        """See Route. Every node passes on what it is given."""
        return False

    def close(self) -> None:
        """Nobody is asked beside the connections themselves."""

    def _candidates(self) -> Iterator[Address]:
        # What the nodes call each other comes first: only by those names is it seen that two are the same.
        last = (self._avoid(), self.at)
        for nodes in (self._known, [seed for seed in self._seeds if seed not in self._known]):
            yield from sorted(random.sample(nodes, len(nodes)), key=lambda node: node in last)

    def _joined(self, address: Address, options: dict[str, Any]) -> redis.Connection:
        connection = self.open_at(address, **options)
        try:
            connection.connect()
            info, slots, own_id = exchange(connection, [("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"), ("CLUSTER", "MYID")])
            if "cluster_state:ok" not in _text(info):
                raise redis.exceptions.ClusterDownError(f"CLUSTERDOWN {address} says {_first_line(info)}")  # noqa: TRY301
            nodes = list(_nodes(slots, address))
            self._known = list(dict.fromkeys(node.at for node in nodes))[:MOST_NODES]
            self.at = next((node.at for node in nodes if node.id == own_id), address)
            owner = next((node.at for node in nodes if node.is_master and self._slot in node.slots), self.at)
        except BaseException:
            _hang_up(connection)
            raise
        if self._slot is None or owner == self.at:
            return connection
        _hang_up(connection)
        self.at = owner
        return self.open_at(owner, **options)


class _Node(NamedTuple):
    id: object
    at: Address
    slots: range
    is_master: bool


def _nodes(slots: object, asked: Address) -> Iterator[_Node]:
    """From CLUSTER SLOTS: the nodes that serve each span, its master first. One without a name is the one asked."""
    for entry in slots if is_list(slots) else ():
        with suppress(TypeError, ValueError, IndexError, AttributeError):
            yield from _serving(entry, asked)


def _serving(entry: Any, asked: Address) -> Iterator[_Node]:
    first, last, *nodes = entry
    for number, (host, port, own_id, *_) in enumerate(nodes):
        address = Address(host.decode() if host else asked.host, int(port))
        yield _Node(own_id, address, range(int(first), int(last) + 1), number == 0)


def _text(reply: object) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)


def _first_line(reply: object) -> str:
    return _text(reply).partition("\r\n")[0][:200]


def _hang_up(connection: redis.Connection) -> None:
    with suppress(Exception):
        connection.disconnect()
