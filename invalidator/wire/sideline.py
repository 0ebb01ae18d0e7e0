"""A second connection to the same Redis, for what the connection of a subscription must not be asked.

The worker's loop asks and goes on; a thread waits for the answers, and the loop hears of them when it turns.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import ClusterDownError, ReadOnlyError

from invalidator.slots import clock
from invalidator.wire.connection import Refused, explain
from invalidator.wire.hub import Hub
from invalidator.wire.route import route_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Address, Command, Identity

MOST_WAITING = 64
"""Requests not answered yet. A Redis that hangs answers none of them, and more would only be older when it does."""
_NOT_HERE = (ReadOnlyError, ClusterDownError)
"""READONLY, CLUSTERDOWN and MASTERDOWN: answers of a server that is the right one no more."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The replies, one for each command: as Redis gave them, or the ResponseError that stands in the place of one.

    `asked` is the monotonic second at which they were sent, `server` who has answered; in a Cluster, commands with keys
    may have been answered by others.
    """

    replies: tuple[object, ...]
    asked: float
    server: Identity


@dataclass(frozen=True, slots=True)
class _Request:
    commands: Sequence[Command]
    then: Callable[[Answered | Refused], None]
    urgent: bool
    anew: bool


class Sideline:
    """Asks one request after the other, over connections that the Hub keeps. `wake` ends the loop's wait."""

    def __init__(self, hub: Hub, wake: Callable[[], None], *, looks_back: bool = True) -> None:
        self._hub = hub
        self._wake = wake
        self._looks_back = looks_back
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._outcomes: deque[tuple[_Request, Answered | Refused]] = deque()
        self._waiting = 0
        self._astray = False
        self._thread: threading.Thread | None = None

    def ask(
        self,
        commands: Sequence[Command],
        then: Callable[[Answered | Refused], None],
        *,
        urgent: bool = True,
        anew: bool = False,
    ) -> bool:
        """Send these, together and in this order; `turn` calls `then`. False: too many wait, and nothing is sent.

        In a Cluster, commands whose keys another node owns are sent again to that node, after the others. An answer
        that is not `urgent` waits until the loop turns for some other reason. `anew`: over a new connection, as the one
        that is open may lead to a server that is the right one no more.
        """
        if self._waiting >= MOST_WAITING:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sideline", daemon=True)
            self._thread.start()
        self._waiting += 1
        self._requests.put(_Request(tuple(commands), then, urgent, anew))
        return True

    def turn(self) -> None:
        """Tell those who asked what has come back, on the caller's thread."""
        while self._outcomes:
            request, outcome = self._outcomes.popleft()
            self._waiting -= 1
            request.then(outcome)

    def was_astray(self) -> bool:
        """Whether others have published at a former master until lately. Says so once.

        It is of no request: the one whose turn it was to look may be another's, who would not know what it means.
        """
        if not self._astray:
            return False
        self._astray = False
        return True

    def close(self) -> None:
        """End, once what was asked before has been answered. Does not wait for that."""
        self._requests.put(None)

    def wait(self, seconds: float) -> None:
        """For that, after `close`, but no longer than so many seconds."""
        if self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        while request := self._requests.get():
            try:
                outcome: Answered | Refused = self._answer(request)
            except Exception as error:  # noqa: BLE001  # whatever it is, who asked must hear of it or would wait for ever
                self._hub.hang_up()
                outcome = explain(error)
            self._outcomes.append((request, outcome))
            if request.urgent:
                self._wake()
            self._look_back()
        self._hub.close()

    def _answer(self, request: _Request) -> Answered:
        if request.anew:
            self._hub.hang_up()
        self._hub.prepare()
        asked = clock()
        replies = self._hub.exchange(request.commands)
        server = self._hub.server
        if any(isinstance(reply, _NOT_HERE) for reply in replies):
            self._hub.hang_up()
        return Answered(replies, asked, server)

    def _look_back(self) -> None:
        """At former masters, after the answer was told: one whose machine is gone costs a look its whole timeout."""
        try:
            if self._looks_back and self._hub.was_astray():
                self._astray = True
                self._wake()
        except Exception:  # noqa: BLE001  # nobody has asked for this, and whoever asks next is not to miss the thread
            self._hub.hang_up()


def sideline_to(
    settings: RedisSettings,
    worker: str,
    wake: Callable[[], None],
    *,
    key: str = "",
    avoid: Callable[[], Address | None] = lambda: None,
) -> Sideline:
    """A Sideline of this worker. In a Cluster: to the owner of `key`, else to another node than `avoid()`.

    It has a name of its own, so that nobody takes it for the subscription. A proxy or a name says where to go only to
    whoever connects: so it connects again when a heartbeat's deadline has passed.
    """
    route = route_to(settings, key=key, avoid=avoid)
    hub = Hub(route, f"invalidator-aside:{worker}", settings.heartbeat.deadline)
    return Sideline(hub, wake, looks_back=not key)  # the journal's need not: one of a worker's does it for all
