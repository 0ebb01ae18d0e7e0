"""Many requests over a few connections under one selector, each with an answer of its own, by one deadline.

Threads would not be faster (the interpreter's lock), and would need a hand-off for each request.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from invalidator.errors import BackendError
from invalidator.http.parser import Response
from invalidator.http.request import Request, encode_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from invalidator.http.connection import Connection
    from invalidator.http.pool import Pool

Answer = Response | BackendError
"""What became of one request: the server's answer, or why there is none."""

GIVE_UP_AFTER = 32
"""So many failures in a row, and the rest is not tried: a server that hangs up on everything costs a dial each time."""


class _Job(NamedTuple):
    place: int
    wire: bytes
    head: bool
    again: bool = False


class Exchange:
    """One call of `Client.exchange`. A request is sent at most twice, and only if its connection was stale at first."""

    def __init__(self, pool: Pool, requests: Sequence[Request], deadline: float) -> None:
        self._pool = pool
        self._deadline = deadline
        self._answers: list[Answer] = [BackendError("error", "not asked")] * len(requests)
        self._pending: deque[_Job] = deque()
        self._busy: dict[Connection, _Job] = {}
        self._failures = 0
        self._dialling = True
        self._fault = BackendError("unreachable")
        for index, request in enumerate(requests):
            self._enqueue(index, request)

    def run(self) -> list[Answer]:
        """The answers, in the order of the requests."""
        try:
            for connection in self._pool.wait(0):
                self._advance(connection, time.monotonic())
            while self._turn(time.monotonic()):
                pass
        finally:
            for connection in self._busy:
                self._pool.discard(connection)
        return self._answers

    def _enqueue(self, index: int, request: Request) -> None:
        try:
            wire = encode_request(request)
        except ValueError as error:
            self._answers[index] = BackendError("unsafe", str(error), retry=False)
        else:
            self._pending.append(_Job(index, wire, request.method == "HEAD"))

    def _turn(self, now: float) -> bool:
        """One round of the loop; False when nothing is left to do."""
        if now >= self._deadline:
            self._fail(self._busy.values(), BackendError("timeout", "no answer by the deadline"))
            self._fail(self._pending, BackendError("timeout", "not sent by the deadline"))
            return False
        self._assign(now)
        if not self._busy:
            self._fail(self._pending, self._fault)
            return False
        due = min(self._deadline, *(connection.due for connection in self._busy))
        for connection in self._pool.wait(due - now):
            self._advance(connection, time.monotonic())
        self._expire(time.monotonic())
        return True

    def _assign(self, now: float) -> None:
        while self._pending and (connection := self._take(now)) is not None:
            job = self._pending.popleft()
            self._busy[connection] = job
            connection.start(job.wire, now, head=job.head)
            self._pool.watch(connection)

    def _take(self, now: float) -> Connection | None:
        if self._pool.idle:
            return self._pool.idle.pop()
        if not self._dialling or len(self._busy) >= self._pool.size:
            return None
        try:
            return self._pool.open(now, self._deadline)
        except BackendError as error:
            self._stop_dialling(error)
            return None

    def _advance(self, connection: Connection, now: float) -> None:
        try:
            answer = connection.advance(now)
        except BackendError as error:
            self._lost(connection, error)
            return
        if answer is None:
            self._pool.watch(connection)
            return
        self._answers[self._busy.pop(connection).place] = answer
        self._failures = 0
        if connection.reusable:
            self._pool.watch(connection)
            self._pool.idle.append(connection)
        else:
            self._pool.discard(connection)

    def _expire(self, now: float) -> None:
        for connection in [connection for connection in self._busy if connection.due <= now]:
            self._lost(connection, connection.late())

    def _lost(self, connection: Connection, error: BackendError) -> None:
        """A connection is of no more use: decide what becomes of the request that it carried."""
        self._pool.discard(connection)
        job = self._busy.pop(connection, None)
        if job is None:
            return
        if not connection.ready:
            self._stop_dialling(error)
            self._pending.appendleft(job)
        elif connection.stale and error.reason == "closed" and not job.again:
            # Purges are idempotent. Whoever hung up on this one has most likely hung up on the idle ones too.
            for idle in tuple(self._pool.idle):
                self._pool.discard(idle)
            self._pending.appendleft(job._replace(again=True))
        else:
            self._answers[job.place] = error
            self._failures += 1
            if self._failures >= GIVE_UP_AFTER:
                self._fail(
                    self._pending, BackendError(error.reason, f"not tried, after failures in a row: {error.detail}")
                )
                self._pending.clear()

    def _stop_dialling(self, error: BackendError) -> None:
        """No more connections in this exchange. Those that stand carry the rest; if none does, this is its error."""
        self._dialling = False
        self._fault = error

    def _fail(self, jobs: Iterable[_Job], error: BackendError) -> None:
        for job in jobs:
            self._answers[job.place] = error
