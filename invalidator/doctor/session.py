"""One connection to a Redis, for a few questions: redis-py's own, which gives a plain reply to each command."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import redis

from invalidator.doctor.wording import shown
from invalidator.topology.settings import Heartbeat
from invalidator.wire.cluster import ThroughCluster
from invalidator.wire.connection import explain, open_connection
from invalidator.wire.hub import Hub
from invalidator.wire.route import route_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Address

NAME = "invalidator-doctor"
"""How we show in CLIENT LIST: not as any worker does."""
_PATIENCE = Heartbeat(interval=1.0, deadline=3.0)

Sort = Literal["away", "silent", "auth", "full", "loading", "busy", "denied", "unread"]


class Unreached(NamedTuple):
    """Why a server could not be asked, and its words."""

    sort: Sort
    why: str


class Session:
    """Asks one command at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ask(self, *command: str) -> Any:
        """The reply: bytes, int, None or a list of them.

        Raises redis.ResponseError for one that is an error, redis.ConnectionError or TimeoutError when there is none.
        """
        self._connection.send_command(*command)
        return self.next()

    def next(self) -> Any:
        """What comes next: to a subscriber, messages come unasked."""
        return self._connection.read_response()


@contextmanager
def session(settings: RedisSettings, name: str | None = NAME) -> Iterator[Session]:
    """Connected, authenticated, in its database. Raises redis.RedisError or OSError."""
    connection: Any = open_connection(patient(settings), **({"client_name": name} if name else {}))
    try:
        connection.connect()
        yield Session(connection)
    finally:
        connection.disconnect()


@contextmanager
def nodes(settings: RedisSettings) -> Iterator[Iterator[Session]]:
    """Each node of a Cluster, one after the other. Raises redis.RedisError or OSError."""
    route = ThroughCluster(patient(settings), "", lambda: None)
    with ExitStack() as stack:
        first: Any = route.open(client_name=NAME)
        stack.callback(first.disconnect)
        yield (_joined(stack, route, address) for address in route.nodes)


def _joined(stack: ExitStack, route: ThroughCluster, address: Address) -> Session:
    connection: Any = route.open_at(address, client_name=NAME)
    connection.connect()
    stack.callback(connection.disconnect)
    return Session(connection)


@contextmanager
def sideline(settings: RedisSettings, key: str = "") -> Iterator[Hub]:
    """The connections that a worker has beside its subscription's: in a Cluster, to the owner of this key.

    Raises redis.RedisError or OSError.
    """
    hub = Hub(route_to(patient(settings), key=key), NAME, _PATIENCE.deadline)
    try:
        hub.prepare()
        yield hub
    finally:
        hub.close()


def patient(settings: RedisSettings) -> RedisSettings:
    """The same, as patient as we are: a worker may be told to wait for minutes. Whoever runs the doctor is not."""
    return settings.model_copy(update={"heartbeat": _PATIENCE})


def unreached(error: Exception) -> Unreached:
    """What an error of a connection means."""
    refused = explain(error)
    return Unreached(_sort(error, refused.detail, auth=refused.auth), shown(refused.detail, 300))


def _sort(error: Exception, text: str, *, auth: bool) -> Sort:
    rules: tuple[tuple[bool, Sort], ...] = (
        (isinstance(error, PermissionError) and bool(error.filename), "unread"),
        (auth, "auth"),
        ("max number of clients" in text, "full"),
        (isinstance(error, redis.BusyLoadingError) or text.startswith("LOADING"), "loading"),
        (text.startswith("BUSY"), "busy"),
        (is_denied(error), "denied"),
        (isinstance(error, (redis.TimeoutError, TimeoutError)), "silent"),
    )
    return next((sort for holds, sort in rules if holds), "away")


def is_denied(error: Exception) -> bool:
    """Whether an ACL is what stands in the way."""
    return isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in str(error)
