"""A second connection to the same Redis, for what the connection of a subscription must not be asked.

The worker's loop asks and goes on; a thread waits for the answers, and the loop hears of them when it turns.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.slots import clock
from invalidator.wire.connection import Refused, explain
from invalidator.wire.identity import Identity, exchange, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

    from invalidator.wire.identity import Command

MOST_WAITING = 64
"""Requests not answered yet. A Redis that hangs answers none of them, and more would only be older when it does."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The replies, one for each command: as Redis gave them, or the ResponseError that stands in the place of one.

    `asked` is the monotonic second at which they were sent, `server` who has answered.
    """

    replies: tuple[object, ...]
    asked: float
    server: Identity


@dataclass(frozen=True, slots=True)
class _Request:
    commands: Sequence[Command]
    then: Callable[[Answered | Refused], None]


class Sideline:
    """One connection, opened when first needed, and again when it is older than `max_age` seconds.

    A connection that lives long may lead to a server that is the right one no more: a proxy, a name or a Sentinel says
    where to go only when it is asked. `wake` ends the loop's wait, from the thread.
    """

    def __init__(self, connect: Callable[[], redis.Connection], wake: Callable[[], None], max_age: float) -> None:
        self._connect = connect
        self._wake = wake
        self._max_age = max_age
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._outcomes: deque[tuple[_Request, Answered | Refused]] = deque()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._connection: redis.Connection | None = None
        self._server = Identity()
        self._opened = 0.0

    def ask(self, commands: Sequence[Command], then: Callable[[Answered | Refused], None]) -> bool:
        """Send these, together and in this order; `turn` calls `then`. False: too many wait, and nothing is sent."""
        if self._waiting >= MOST_WAITING:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sideline", daemon=True)
            self._thread.start()
        self._waiting += 1
        self._requests.put(_Request(tuple(commands), then))
        return True

    def turn(self) -> None:
        """Tell those who asked what has come back, on the caller's thread."""
        while self._outcomes:
            request, outcome = self._outcomes.popleft()
            self._waiting -= 1
            request.then(outcome)

    def close(self) -> None:
        """End, once what was asked before has been answered. Does not wait for that."""
        self._requests.put(None)

    def _run(self) -> None:
        while request := self._requests.get():
            try:
                outcome: Answered | Refused = self._answer(request)
            except Exception as error:  # noqa: BLE001  # whatever it is, who asked must hear of it or would wait for ever
                self._hang_up()
                outcome = explain(error)
            self._outcomes.append((request, outcome))
            self._wake()
        self._hang_up()

    def _answer(self, request: _Request) -> Answered:
        connection = self._connected()
        asked = clock()
        return Answered(exchange(connection, request.commands), asked, self._server)

    def _connected(self) -> redis.Connection:
        if self._connection and clock() - self._opened > self._max_age:
            self._hang_up()
        if self._connection is None:
            connection = self._connect()
            try:
                connection.connect()  # type: ignore[no-untyped-call]
                self._server = identify(connection)
            except BaseException:
                with suppress(Exception):
                    connection.disconnect()  # type: ignore[no-untyped-call]
                raise
            self._connection, self._opened = connection, clock()
        return self._connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with suppress(Exception):
                connection.disconnect()  # type: ignore[no-untyped-call]
