"""A lane: one backend's own queue, hook caller and thread. Whatever its backend does, it does to this lane alone."""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from invalidator.errors import EXIT_BUG, BackendError
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Receipt
from invalidator.pipeline.answers import all_failed, checked
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from invalidator.backend import Backend
    from invalidator.messages import Batch, FlushCause, Invalidation, PurgeResult, Target
    from invalidator.pipeline.coalescer import Pending
    from invalidator.pipeline.deadletter import DeadLetters
    from invalidator.pipeline.receipts import Receipts

Purge = Any  # pluggy's HookCaller: called with batch=..., it gives a PurgeResult


class Lane:
    """Takes targets from the worker's loop, and has its backend purge them.

    A backend that may block is called from a thread of the lane; one that never does (`inline`) from the worker's loop,
    in `turn`: handing a batch to a thread costs more than such a purge (benchmarks/hand_off.py measures it).
    """

    def __init__(
        self,
        backend: Backend,
        purge: Purge,
        pending: Pending,
        receipts: Receipts,
        dead_letters: DeadLetters,
        log: Logger,
        changed: Callable[[], None],
    ) -> None:
        self.backend = backend
        self._purge = purge
        self._pending = pending
        self._receipts = receipts
        self._dead_letters = dead_letters
        self._log = log
        self._changed = changed
        self._condition = threading.Condition(threading.Lock())
        self._seldom = Occasionally(10.0)
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The backend's name in the topology, and which of its servers this lane is for."""
        return f"{self._pending.policy.backend} {self.backend.node}".strip()

    def start(self) -> None:
        """Begin to purge."""
        if not self.backend.inline:
            # A daemon thread: a backend that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=f"lane {self.name}", daemon=True)
            self._thread.start()

    def offer(self, invalidations: Iterable[Invalidation], now: float) -> None:
        """Take what messages ask for. Never waits for the backend."""
        homeless: list[Target] = []
        with self._condition:
            for invalidation in invalidations:
                targets: Sequence[Target] = invalidation.targets
                if not self._pending.policy.kinds.issuperset(target.kind for target in targets):
                    targets = self._known(targets, now)
                homeless += self._pending.add(targets, soft=invalidation.soft, ts=invalidation.ts, now=now)
            if homeless:
                self._bury(homeless, "overflow")
            self._receipts.count(self._pending)
            self._condition.notify()

    def flush(self, cause: FlushCause, due: float) -> None:
        """Purge the flush's scope from `due` on, if this lane's policy is to do so."""
        if self._pending.policy.on_gap:
            with self._condition:
                self._pending.flush(cause, due)
                self._condition.notify()

    def is_flushing(self) -> bool:
        """Whether a flush is owed."""
        with self._condition:
            return self._pending.is_flushing()

    def is_settled(self) -> bool:
        """Whether no flush is outstanding, or the backend has shown that it cannot do it now."""
        with self._condition:
            return not self._pending.is_flushing() or self._pending.failures > 0

    def is_sound(self) -> bool:
        """Whether the backend has done all that was due: no flush is owed, and nothing that it was asked for failed."""
        with self._condition:
            return not self._pending.is_overdue()

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called; infinite for a lane with a thread."""
        return self._pending.next_due(now) if self.backend.inline else float("inf")

    def turn(self) -> None:
        """For inline backends: purge everything that is due, on the caller's thread."""
        if self.backend.inline:
            while batch := self._pending.take(clock()):
                self._attempt(batch)

    def vouch(self, until: float) -> None:
        """Tell an inline backend how long the subscription is known to be alive; 0.0: it is not.

        One that owes a flush, or has failed, is not told that all is well: what it serves could be older than a message
        that it was asked to act on. What merely gathers, as its operator wished, is no debt.
        """
        if not self.backend.inline:
            return
        try:
            self.backend.subscribed(until if self.is_sound() else 0.0)
        except BaseException as error:  # noqa: BLE001  # a plugin's: it harms its own backend alone
            if (held := self._seldom.due("subscribed", clock())) is not None:
                self._log.error("plugin.raised", hook="subscribed", error=repr(error), held_back=held)

    def stop(self) -> None:
        """Do what is pending without waiting for its time, and then end. Returns at once; `join` waits."""
        with self._condition:
            self._stopping = True
            self._pending.hurry()
            self._condition.notify()
        if self.backend.inline:
            self.turn()
            self._close()

    def join(self, deadline: float) -> int:
        """Wait for the end until this monotonic second. Returns how many targets were still pending then.

        They are dead-lettered, as nobody else knows of them: what a successor will flush is not for us to say. Targets
        behind a flush that is still owed remain with it.
        """
        if self._thread:
            self._thread.join(max(0.0, deadline - clock()))
        with self._condition:
            left = len(self._pending)
            self._bury(self._pending.abandon(), "stopped")
            self._receipts.count(self._pending)
        return left

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._attempt(batch)
        except BaseException as error:  # noqa: BLE001  # see below
            # A lane that ended here would fill up without a word. The worker's successor begins with a flush.
            self._log.error("lane.crashed", error=repr(error), traceback=traceback.format_exc()[-2000:])
            os._exit(EXIT_BUG)
        self._close()

    def _close(self) -> None:
        try:
            self.backend.close()
        except BaseException as error:  # noqa: BLE001  # a plugin's; there is nothing left that it could harm
            self._log.error("plugin.raised", hook="close", error=repr(error))

    def _next_batch(self) -> Batch | None:
        with self._condition:
            while True:
                now = clock()
                if batch := self._pending.take(now):
                    return batch
                if self._stopping:
                    return None
                due = self._pending.next_due(now)
                self._condition.wait(None if due == float("inf") else due)

    def _attempt(self, batch: Batch) -> None:
        started = clock()
        result = self._ask(batch)
        ended = clock()
        # On the disk before they are counted, and outside the lock: the reader must not wait for the disk.
        poison = list(self._pending.poison(result).items())
        unkept = len(poison) - self._dead_letters.write(poison, time.time()) if poison else 0
        with self._condition:
            stamps = self._pending.settle(batch, result, ended, unkept=unkept)
            wall = time.time()
            receipt = Receipt(batch, result, ended - started)
            self._receipts.acknowledge(receipt, self._pending, [wall - stamp for stamp in stamps])
        if batch.cause:
            self._changed()  # the worker's loop may be waiting for this flush; for nothing else

    def _ask(self, batch: Batch) -> PurgeResult:
        try:
            return checked(self._purge(batch=batch), batch)
        except BackendError as error:
            return all_failed(batch, error)
        except BaseException as error:  # noqa: BLE001  # a plugin's: its backend has failed, not the worker
            self._log.error("purge.raised", error=repr(error))
            return all_failed(batch, BackendError("error", repr(error)))

    def _known(self, targets: Sequence[Target], now: float) -> list[Target]:
        policy = self._pending.policy
        known = [target for target in targets if target.kind in policy.kinds]
        unknown = len(targets) - len(known)
        if policy.widen and policy.flush:
            self._pending.widen(unknown, now)
        else:
            self._pending.skip(unknown)
        return known

    def _bury(self, targets: Sequence[Target], reason: str) -> None:
        kept = self._dead_letters.write([(target, reason) for target in targets], time.time()) if targets else 0
        self._pending.end("dead", kept)
        self._pending.end("lost", len(targets) - kept)
        if targets and (held := self._seldom.due(reason, clock())) is not None:
            self._log.error("lane.dead_lettered", reason=reason, kept=kept, lost=len(targets) - kept, held_back=held)
