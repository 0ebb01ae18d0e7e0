"""Many requests over a few connections under one selector, each with an answer of its own, by one deadline.

Threads would not be faster (the interpreter's lock), and would need a hand-off for each request.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.errors import BackendError
from invalidator.http.pipeline import Job, Waiting
from invalidator.http.request import Request, encode_request
from invalidator.http.response import Response

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Sequence

    from invalidator.http.connection import Connection
    from invalidator.http.pool import Pool

Answer = Response | BackendError
"""What became of one request: the server's answer, or why there is none."""

GIVE_UP_AFTER = 32
"""So many failures in a row, and the rest is not tried: a server that hangs up on everything costs a dial each time."""


class Exchange:
    """One call of `Client.exchange`.

    A request is sent a second time only if its connection was stale, or ended before the request had its turn.
    """

    def __init__(self, pool: Pool, requests: Sequence[Request], deadline: float) -> None:
        self._pool = pool
        self._deadline = deadline
        self._answers: list[Answer] = [BackendError("error", "not asked")] * len(requests)
        self._waiting = Waiting()
        self._busy: dict[Connection, deque[Job]] = {}
        self._depths: dict[Connection, int] = {}
        self._look_at = deadline
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
            head = request.method == "HEAD"
            self._waiting.add(Job(index, wire, head, alone=head or bool(request.body)))

    def _turn(self, now: float) -> bool:
        """One round of the loop; False when nothing is left to do."""
        if now >= self._deadline:
            for jobs in self._busy.values():
                self._fail(jobs, BackendError("timeout", "no answer by the deadline"))
            self._fail(self._waiting.clear(), BackendError("timeout", "not sent by the deadline"))
            return False
        self._assign(now)
        if not self._busy:
            self._fail(self._waiting.clear(), self._fault)
            return False
        ready = self._pool.wait(self._look_at - now)
        now = time.monotonic()
        for connection in ready:
            self._advance(connection, now)
        if now >= self._look_at:
            self._expire(now)
        return True

    def _assign(self, now: float) -> None:
        while self._waiting and (connection := self._take(now)) is not None:
            jobs = self._waiting.next(self._depths.get(connection, 1), self._pool.size)
            self._busy[connection] = jobs
            wire = b"".join([job.wire for job in jobs]) if len(jobs) > 1 else jobs[0].wire
            connection.start(wire, now, count=len(jobs), head=jobs[0].head)
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Be called when something happens there, and not too late when nothing does."""
        self._pool.watch(connection)
        self._look_at = min(self._look_at, connection.due)

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
            for answer in connection.advance(now):
                self._answers[self._busy[connection].popleft().place] = answer
                self._failures = 0
        except BackendError as error:
            self._lost(connection, error, now)
            return
        jobs = self._busy.get(connection)
        if jobs and connection.reusable:
            self._watch(connection)
        elif jobs is not None:
            self._done(connection, now)

    def _done(self, connection: Connection, now: float) -> None:
        """All has been answered, or the last answer has said that there will be no other."""
        self._waiting.back(self._busy.pop(connection))
        if connection.reusable:
            self._depths[connection] = self._pool.pipeline.after(connection.together, now)
            self._pool.watch(connection)
            self._pool.idle.append(connection)
        else:
            self._pool.discard(connection)

    def _expire(self, now: float) -> None:
        """Give up on those that are late, and learn when the next of them will be. Not at each turn: it costs."""
        for connection in [connection for connection in self._busy if connection.due <= now]:
            self._lost(connection, connection.late(), now)
        self._look_at = min((self._deadline, *(connection.due for connection in self._busy)))

    def _lost(self, connection: Connection, error: BackendError, now: float) -> None:
        """A connection is of no more use: decide what becomes of the requests that it carried."""
        self._pool.discard(connection)
        jobs = self._busy.pop(connection, None)
        if not jobs:
            return
        if connection.together > 1:
            self._pool.pipeline.failed(now)
        if not connection.ready:
            self._stop_dialling(error)
            self._waiting.back(jobs)
        elif connection.stale and error.reason == "closed" and not jobs[0].again:
            # Purges are idempotent. Whoever hung up on this one has most likely hung up on the idle ones too.
            for idle in tuple(self._pool.idle):
                self._pool.discard(idle)
            self._waiting.back(jobs, again=True)
        else:
            self._answers[jobs.popleft().place] = error
            self._waiting.back(jobs)
            self._failures += 1
            if self._failures >= GIVE_UP_AFTER:
                after = BackendError(error.reason, f"not tried, after failures in a row: {error.detail}")
                self._fail(self._waiting.clear(), after)

    def _stop_dialling(self, error: BackendError) -> None:
        """No more connections in this exchange. Those that stand carry the rest; if none does, this is its error."""
        self._dialling = False
        self._fault = error

    def _fail(self, jobs: Iterable[Job], error: BackendError) -> None:
        for job in jobs:
            self._answers[job.place] = error
