"""A lane that needs its thread only for what waits: small batches are sent, and their answers taken, by the loop.

To hand a batch to a thread, and the interpreter with it, takes longer than a cache nearby does for its answer. What
would wait goes to the thread, as in any other lane: the first connection, large batches, flushes, a server that is
slow, and all that has failed. It keeps the lane until little is left, and nothing that it would have to come back for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from invalidator.lanes.lane import Lane
from invalidator.messages import PurgeResult
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.backend import Sent
    from invalidator.lanes.immediate import Immediate
    from invalidator.messages import Batch, Invalidation

MOST_AT_ONCE = 1_000
"""Targets of a batch that the loop sends: to write down more takes time in which nothing is read."""
FEW = 250
"""Targets with which the thread gives a lane back that would have more to do: far fewer than make the loop leave it."""
PATIENCE = 0.05
"""Seconds for which the loop looks for an answer. Whoever needs longer is waited for by the thread."""


class _UnderWay(NamedTuple):
    batch: Batch
    sent: Sent
    fd: int
    began: float


class Direct(Lane):
    """For a backend that has a `send` of its own, which no plugin's wrapper stands around."""

    _pending: Immediate

    def __init__(self, pending: Immediate, **parts: Any) -> None:
        super().__init__(pending=pending, **parts)
        self._under_way: _UnderWay | None = None
        self._left: _UnderWay | Batch | None = None
        """What the loop has left to the thread, until that takes it."""
        self._late: _UnderWay | None = None
        """What the thread has taken, and waits for."""
        self._was_quick = False
        self._is_threads = False
        """Whether the lane is the thread's. Only the loop gives it away, and only the thread gives it back."""

    def start(self) -> None:
        """The thread begins when it is first needed: an idle worker is to be small."""

    def next_due(self, now: float) -> float:
        with self._lock:
            if self._is_threads:
                return float("inf")
            if self._under_way:
                return max(0.0, self._under_way.began + PATIENCE - now)
            return self._due(now)

    def fileno(self) -> int | None:
        return self._under_way.fd if self._under_way else None

    def offer(self, invalidations: Sequence[Invalidation], now: float, number: int = 0, *, alone: bool = False) -> int:
        if not (self._is_threads or self._under_way or self._paused or self._stopping):
            with self._lock:
                self._pending.heard, self._pending.alone = number, alone
                batch = self._pending.take_at_once(invalidations, now)
                self._uncounted = self._uncounted or batch is not None
            if batch:
                self._send(batch)
                return len(invalidations)
        return super().offer(invalidations, now, number, alone=alone)

    def turn(self) -> None:
        """Take the answer that has come, and send what is due."""
        if self._under_way:
            self._look(self._under_way)
        while not self._under_way and (batch := self._take()):
            self._send(batch)
        self._count_what_waits()  # what is under way as well: whoever is killed now is to be known to have had it

    def _wake(self) -> None:
        if self._stopping and not self._is_threads:
            under_way, self._under_way = self._under_way, None
            self._leave(under_way)
        elif self._is_threads:
            self._condition.notify()

    def _took_in(self) -> None:
        if self._is_threads:
            super()._took_in()
        else:
            self._uncounted = True

    def _take(self) -> Batch | None:
        with self._lock:
            return None if self._is_threads else self._ready()

    def _send(self, batch: Batch) -> None:
        began = clock()
        if _is_small(batch) and (sent := self._guarded.send(batch)):
            self._under_way = _UnderWay(batch, *sent, began)
            return
        with self._lock:
            self._leave(batch)

    def _look(self, under_way: _UnderWay) -> None:
        answered = self._guarded.is_answered(under_way.sent)
        if answered:
            self._under_way = None
            self._finish(under_way.batch, PurgeResult(), under_way.began)
        elif answered is None or clock() >= under_way.began + PATIENCE:
            self._under_way = None
            with self._lock:
                self._leave(under_way.batch if answered is None else under_way)

    def _leave(self, left: _UnderWay | Batch | None) -> None:
        """From here on the lane is the thread's."""
        self._left = left
        self._is_threads = True
        if self._thread is None:
            # A daemon thread: a backend that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=f"lane {self.name}", daemon=True)
            self._thread.start()
        self._condition.notify()

    # The thread's.

    def _next(self) -> Batch | None:
        if not self._is_threads:
            return None
        left, self._left = self._left, None
        if isinstance(left, _UnderWay):
            self._late = left
            return left.batch
        if left is None and self._is_light():
            self._is_threads = False
            self._changed()
            return None
        return left or self._ready()

    def _is_light(self) -> bool:
        """Whether the loop could go on with it: messages that keep coming would otherwise keep it here for good."""
        if self._stopping or not self._was_quick or self._pending.is_overdue():
            return False
        return 0 < len(self._pending) <= FEW

    def _rest(self) -> float | None:
        rest = super()._rest() if self._is_threads else None
        self._is_threads = rest is not None
        return rest

    def _attempt(self, batch: Batch) -> None:
        late, self._late = self._late, None
        began = clock()
        if late:
            self._finish(batch, self._guarded.await_answer(late.sent, batch), late.began)
        else:
            super()._attempt(batch)
        self._was_quick = not late and clock() - began < PATIENCE


def _is_small(batch: Batch) -> bool:
    names = (batch.keys, batch.tags, batch.prefixes, batch.patterns, batch.urls)
    return not batch.cause and sum(map(len, names)) <= MOST_AT_ONCE
