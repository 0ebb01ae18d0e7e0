"""Asks one Redis everything that there is to know, and takes a refusal of any question as an answer too.

Managed servers refuse CONFIG, users of little right CLIENT and SLOWLOG, old servers CLIENT LIST TYPE: what cannot be
seen is said, and everything else is looked at all the same.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import redis

from invalidator.doctor.facts import (
    BufferLimit,
    Client,
    Facts,
    Refusal,
    clients_of,
    config_of,
    info_of,
    limit_of,
    numsub_of,
    slowlog_of,
    whole,
)
from invalidator.doctor.session import Session, Unreached, nodes, session, unreached
from invalidator.doctor.stream import look_up
from invalidator.doctor.telling import tell
from invalidator.doctor.trial import attempt
from invalidator.doctor.wording import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from invalidator.doctor.servers import Server
    from invalidator.topology.models import RedisSettings

SLOWLOG_ENTRIES = 128


def read(server: Server) -> Facts | Unreached:
    """Everything about one server. Blocks for a few seconds where it does not answer."""
    failure = Unreached("away", "it has no workers")
    for settings in server.ways:
        try:
            facts = _seen(server, settings)
        except (redis.RedisError, OSError, ValueError) as error:  # ValueError: an answer that is not Redis'
            failure = unreached(error)
        else:
            if settings.url.scheme == "redis+cluster":
                facts = _everywhere(server, settings, facts)
            told = tuple(tell(way) for way in server.ways)
            journals = look_up(server)
            # Last: our own subscriptions would be counted among those that we look for.
            trials = [trial for way, workers in server.ways.items() for trial in attempt(workers, way)]
            return replace(facts, trials=tuple(trials), told=told, journals=journals)
    return failure


def _seen(server: Server, settings: RedisSettings) -> Facts:
    try:
        with session(settings) as asked:
            return _Questions(asked).facts(server)
    except redis.exceptions.NoPermissionError:
        with session(settings, name=None) as asked:  # not even CLIENT SETNAME
            return _Questions(asked).facts(server)


def _everywhere(server: Server, settings: RedisSettings, facts: Facts) -> Facts:
    """The subscriptions at all nodes of a Cluster: each worker listens at one of them, whichever it is."""
    try:
        with nodes(settings) as joined:
            counts = [_Questions(asked).subscriptions(server) for asked in joined]
    except (redis.RedisError, OSError, ValueError) as error:
        refused = Refusal("CLIENT LIST at every node", unreached(error).why)
        return replace(facts, clients=None, numpat=None, numsub=None, refused=(*facts.refused, refused))
    clients, numpats, numsubs = zip(*counts, strict=True)
    return replace(
        facts,
        clients=None if None in clients else tuple(client for each in clients for client in each),
        numpat=None if None in numpats else sum(numpats),
        numsub=None if None in numsubs else {name: sum(each[name] for each in numsubs) for name in server.channels},
    )


class _Questions:
    """Puts them, and keeps the refusals."""

    def __init__(self, asked: Session) -> None:
        self._session = asked
        self._refused: list[Refusal] = []

    def facts(self, server: Server) -> Facts:
        """In this order: what our own answers weigh would be seen in the buffers."""
        info = self._ask(info_of, "INFO") or {}
        ping = self._ping()
        clients, numpat, numsub = self.subscriptions(server)
        return Facts(
            info=info,
            ping=ping,
            clients=clients,
            numpat=numpat,
            numsub=numsub,
            limit=self._limit(),
            slow=self._ask(slowlog_of, "SLOWLOG", "GET", str(SLOWLOG_ENTRIES)),
            slower_than=self._setting("slowlog-log-slower-than"),
            cluster_state=self._cluster_state() if info.get("cluster_enabled") == "1" else "",
            refused=tuple(self._refused),
        )

    def subscriptions(self, server: Server) -> tuple[tuple[Client, ...] | None, int | None, Mapping[str, int] | None]:
        """Who is subscribed, and how many are to a pattern, and to each channel of the workers."""
        clients = self._clients()
        numpat = self._ask(_integer, "PUBSUB", "NUMPAT")
        numsub = self._ask(numsub_of, "PUBSUB", "NUMSUB", *sorted(server.channels)) if server.channels else {}
        return clients, numpat, numsub

    def _ask(self, parse: Callable[[Any], Any], *command: str) -> Any:
        try:
            return parse(self._session.ask(*command))
        except redis.ConnectionError as error:
            if not isinstance(error, redis.BusyLoadingError):  # to redis-py that is one of those
                raise
            why = str(error)
        except redis.ResponseError as error:
            why = str(error)
            if why.startswith("BUSY"):  # so will everything else be
                raise
        self._refused.append(Refusal(" ".join(command[:3]), shown(why)))
        return None

    def _ping(self) -> float:
        began = time.monotonic()
        self._ask(bool, "PING")
        return time.monotonic() - began

    def _clients(self) -> tuple[Client, ...] | None:
        known = len(self._refused)
        found: tuple[Client, ...] | None = self._ask(clients_of, "CLIENT", "LIST", "TYPE", "pubsub")
        if found is None:
            found = self._ask(clients_of, "CLIENT", "LIST")  # before 5.0 it knows no TYPE
            del self._refused[known : known + 1]
        return None if found is None else tuple(client for client in found if client.sub or client.psub)

    def _limit(self) -> BufferLimit | None:
        limit: BufferLimit | None = self._ask(limit_of, "CONFIG", "GET", "client-output-buffer-limit")
        return limit

    def _setting(self, name: str) -> int | None:
        text: str | None = self._ask(config_of, "CONFIG", "GET", name)
        return -1 if text == "-1" else whole(text or "")

    def _cluster_state(self) -> str:
        return str((self._ask(info_of, "CLUSTER", "INFO") or {}).get("cluster_state", ""))


def _integer(reply: object) -> int | None:
    return reply if isinstance(reply, int) else None
