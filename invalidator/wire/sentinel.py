"""The way to a master that Sentinels name.

They are asked again for each new connection, and before each use of one that stays open: an old master may stay alive
behind a failover, serve everybody who is still connected to it, and never say a word.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from invalidator.slots import clock
from invalidator.wire.former import Formers
from invalidator.wire.identity import Address, exchange
from invalidator.wire.options import UNINTRODUCED, connection_options, credentials, over_tcp, patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Identity

_SHARE = 3
"""A Sentinel that hangs may cost this part of the deadline: there are others to ask."""
_REST = 10.0
"""Seconds for which one that did not answer is only asked where a majority is not to be had without it."""
_GLANCE = 10
"""And a former master this part: nothing else is asked meanwhile."""
_LONGEST_LOOK, _LONGEST_REST = 0.3, 3.0
"""Seconds that a look at a former master takes, and between two, at most: one that is back is a master for 8 seconds
(Sentinel waits four of its own periods), and to be seen in that time."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one Sentinel believes. The higher the epoch, the later the failover that it knows of."""

    epoch: int
    master: Address
    down: bool


class ThroughSentinel:
    """See Route. Holds a connection to each Sentinel that it has asked."""

    relays = False

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._name = settings.url.master
        self._sentinels = [Address(host, port) for host, port in settings.url.hosts]  # who was asked goes last
        self._open: dict[Address, redis.Connection] = {}
        self._silent: dict[Address, float] = {}
        self._epoch = 0
        self._knows_best = self._sentinels[0]
        self.at: Address | None = None
        heartbeat = settings.heartbeat
        self._formers = Formers(self._glance_at, heartbeat.interval, min(heartbeat.deadline, _LONGEST_REST))

    def open(self, **options: Any) -> redis.Connection:
        """See Route: to the master of the latest failover that any Sentinel knows of."""
        master = self._master()
        if self.at and self.at != master:
            self._formers.left(self.at)
        for former in self._astray():
            self._formers.named(former)
        self._formers.chosen(master)
        self.at = master
        return self._connection(master, options)

    def check(self, server: Identity, *, to_listen: bool) -> None:
        """A master that has just lost its office is still named for a while."""
        del to_listen
        if server.role not in ("", "master"):
            raise redis.ConnectionError(f"READONLY: Sentinel names {self.at} as the master, which says {server.role}")

    def is_current(self, connection: redis.Connection) -> bool:
        """See Route. Asks one Sentinel, another one each time: any of them may be the first to know, or the last."""
        for sentinel in list(self._sentinels):
            if answer := self._asked(sentinel, {}):
                self._sentinels.append(self._sentinels.pop(0))
                return answer.epoch < self._epoch or answer.master == (connection.host, connection.port)
        raise redis.ConnectionError(f"no Sentinel answers for {self._name!r}")

    def was_astray(self) -> bool:
        """See Route: at a master that has been left, until that was none any more."""
        return self._formers.stepped_down()

    def close(self) -> None:
        """See Route."""
        for sentinel in list(self._open):
            self._hang_up(sentinel)

    def _connection(self, to: Address, options: Mapping[str, Any]) -> redis.Connection:
        own = connection_options(self._settings) | over_tcp(self._settings.heartbeat.deadline)
        own |= credentials(self._settings)
        own.update(options)
        return redis.Connection(host=to.host, port=to.port, db=self._settings.url.database, **own)

    def _glance_at(self, former: Address) -> redis.Connection:
        limits = patience(min(self._settings.heartbeat.deadline / _GLANCE, _LONGEST_LOOK))
        return self._connection(former, {**UNINTRODUCED, **limits})

    def _master(self) -> Address:
        answers: dict[Address, _Answer] = {}
        errors: dict[Address, str] = {}
        for sentinel in sorted(self._sentinels, key=self._rests):
            # All are asked, not a majority: for seconds, the one that led a failover alone knows how it has ended. Who
            # asked the others would go back to the former master and be told to leave it, and each time is a Gap.
            if self._rests(sentinel) and len(answers) > len(self._sentinels) // 2:
                break
            if answer := self._asked(sentinel, errors):
                answers[sentinel] = answer
        up = {sentinel: answer for sentinel, answer in answers.items() if not answer.down}
        if not up:
            known = "all that do say it is down" if answers else "; ".join(f"{at}: {why}" for at, why in errors.items())
            raise redis.ConnectionError(f"no Sentinel knows a master {self._name!r}: {known}")
        self._knows_best = max(up, key=lambda sentinel: up[sentinel].epoch)
        newest = up[self._knows_best]
        self._epoch = newest.epoch
        return newest.master

    def _astray(self) -> Iterator[Address]:
        """Replicas, says the Sentinel that knows best, which do not say so themselves: perhaps former masters.

        A worker that starts while one is cut off has left none, and has to hear of it.
        """
        connection = self._open.get(self._knows_best)
        if connection is None:
            return
        try:
            replicas = exchange(connection, [("SENTINEL", "REPLICAS", self._name)])[0]
        except (redis.RedisError, OSError):
            self._hang_up(self._knows_best)
            return
        for replica in replicas if isinstance(replicas, list) else ():
            fields = _fields(replica)
            unheard = fields.get("master-host") == "?" or fields.get("role-reported") == "master"
            if unheard and fields.get("port", "").isdigit():
                yield Address(fields.get("ip", ""), int(fields["port"]))

    def _asked(self, sentinel: Address, errors: dict[Address, str]) -> _Answer | None:
        try:
            reply = self._ask(sentinel)
        except (redis.RedisError, OSError) as error:
            self._hang_up(sentinel)
            self._silent[sentinel] = clock()
            self._sentinels.remove(sentinel)  # to the end: it has just cost us a timeout
            self._sentinels.append(sentinel)
            errors[sentinel] = str(error) or type(error).__name__
            return None
        self._silent.pop(sentinel, None)
        if (answer := _answer(reply)) is None:
            errors[sentinel] = str(reply)
        return answer

    def _rests(self, sentinel: Address) -> bool:
        return clock() - self._silent.get(sentinel, float("-inf")) < _REST

    def _ask(self, sentinel: Address) -> object:
        connection = self._open.get(sentinel)
        if connection is None:
            limits = patience(self._settings.heartbeat.deadline / _SHARE)
            connection = redis.Connection(host=sentinel.host, port=sentinel.port, protocol=2, **UNINTRODUCED, **limits)
            self._open[sentinel] = connection
        connection.connect()
        return exchange(connection, [("SENTINEL", "MASTER", self._name)])[0]

    def _hang_up(self, sentinel: Address) -> None:
        connection = self._open.pop(sentinel, None)
        if connection:
            with suppress(Exception):
                connection.disconnect()


def _answer(reply: object) -> _Answer | None:
    """None for a Sentinel that does not know this master, or says what nobody can read."""
    try:
        fields = _fields(reply)
        flags = fields["flags"].split(",")
        master = Address(fields["ip"], int(fields["port"]))
        return _Answer(int(fields["config-epoch"]), master, bool({"s_down", "o_down"} & {*flags}))
    except (KeyError, ValueError):
        return None


def _fields(reply: object) -> Mapping[str, str]:
    if not isinstance(reply, list):
        return {}
    words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=False))
