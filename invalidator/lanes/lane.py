"""A lane: one backend's own queue, hook caller and thread. Whatever its backend does, it does to this lane alone."""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import TYPE_CHECKING

from invalidator.errors import EXIT_BUG
from invalidator.lanes.admission import admit
from invalidator.lanes.deadletter import STOPPED
from invalidator.lanes.guarded import VOUCHED_EVERY, Guarded
from invalidator.lanes.lane_state import describe
from invalidator.lanes.news import NO_ORIGIN, Herald
from invalidator.lanes.onlookers import Onlookers
from invalidator.lanes.rehearsal import Rehearsal
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Receipt
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from invalidator.backend import Backend
    from invalidator.channel import LaneReport
    from invalidator.lanes.coalescer import Pending
    from invalidator.lanes.deadletter import DeadLetters
    from invalidator.lanes.guarded import Purge
    from invalidator.lanes.onlookers import Observer
    from invalidator.lanes.policy import Policy
    from invalidator.lanes.receipts import Receipts
    from invalidator.lanes.replies import Answer
    from invalidator.messages import Batch, FlushCause, Invalidation, PurgeResult, Target


class Lane:
    """Takes targets from the worker's loop, and has its backend purge them.

    A backend that may block is called from a thread of the lane; one that never does (`inline`) from the worker's loop,
    in `turn`: handing a batch to a thread costs more than such a purge (benchmarks/runs/hand_off.py measures it).
    """

    def __init__(  # noqa: PLR0913 -- the parts that it is made of
        self,
        backend: Backend,
        purge: Purge,
        pending: Pending,
        receipts: Receipts,
        dead_letters: DeadLetters,
        log: Logger,
        changed: Callable[[], None],
        *,
        observe: Observer | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.backend = backend
        self.herald = Herald()
        self._guarded = (Rehearsal if pending.policy.dry_run else Guarded)(backend, purge, log)
        self._pending = pending
        self._receipts = receipts
        self.dead_letters = dead_letters
        self._log = log
        self._changed = changed
        self._onlookers = Onlookers(pending.policy, backend, log, observe, answer)
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)  # slower to enter: only for who waits, or wakes
        self._seldom = Occasionally(10.0)
        self._paused = self._stopping = self._given_up = self._uncounted = False
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The backend's name in the topology, and which of its servers this lane is for."""
        return f"{self.policy.backend} {self.backend.node}".strip()

    def start(self) -> None:
        """Begin to purge."""
        if not self.backend.inline:
            # A daemon thread: a backend that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=f"lane {self.name}", daemon=True)
            self._thread.start()

    @property
    def policy(self) -> Policy:
        """What its operator wants of it."""
        return self._pending.policy

    @property
    def given_up(self) -> int:
        """How many targets nobody will purge: dead or lost."""
        return self._pending.ends["dead"] + self._pending.ends["lost"]

    @property
    def rank(self) -> int:
        """How many lanes come before this one, one after the other."""
        return 0

    def offer(self, invalidations: Sequence[Invalidation], now: float, number: int = 0, *, alone: bool = False) -> int:
        """Take what messages ask for. Never waits for the backend. `number` grows with each offer of the worker.

        `alone`: no other lane is offered this. Returns how many messages were taken before the first that was refused
        for want of room: from there on all that stand in the journal were, and are to be offered again. What is
        refused is outside of `settled_through`.
        """
        with self._lock:
            self._pending.heard, self._pending.alone = number, alone
            taken, homeless = admit(self._pending, invalidations, now)
            self._onlookers.expect(invalidations, taken, number, now)
            if homeless:
                self._bury(homeless, "overflow")
            self._took_in()
            news = self.herald.gave_up(homeless, self._pending, now, number)
        self.herald.tell(news)
        self._tell_who_waits()
        return taken

    def room(self) -> int:
        """How many targets this lane would keep one by one beyond those that it has."""
        with self._lock:
            return max(0, self._pending.room())

    def settled_through(self) -> int:
        """The number up to which every offer and flush given to this lane has come to its end. Never goes back.

        Purged, flushed, skipped, or given up and dead-lettered; what came from the journal and is pending when the
        lane ends has not. Costs a look at all that is pending: to be asked some times a second.
        """
        with self._lock:
            return self._pending.settled_through()

    def kept_through(self) -> int:
        """The same, of what need not be read again if the process ends: not for a rebound, nor for who follows."""
        with self._lock:
            own = self._pending.kept_through()
        return int(min(own, self.herald.followed_through()))

    def take_refused(self) -> bool:
        """Whether it had no room for what a lane that goes first gave reason for: that one's cursor waits for this."""
        return False

    def flush(self, cause: FlushCause, due: float, owed: int = 0, number: int = 0) -> None:
        """Purge the flush's scope from `due` on, if this lane's policy is to do so.

        `owed` are those of the lanes that this one follows which flush as well, a bit each.
        """
        with self._lock:
            self._pending.heard = number
            if self.policy.on_gap:
                self._pending.gap(cause, due, owed)
                self._wake()

    def owed(self, flushing: Sequence[Lane]) -> int:
        """Which of these this lane follows, a bit each."""
        del flushing
        return 0

    def is_flushing(self) -> bool:
        """Whether a flush is owed."""
        with self._lock:
            return self._pending.is_flushing()

    def is_idle(self) -> bool:
        """Whether nothing is pending, and no flush is owed."""
        with self._lock:
            return not len(self._pending) and not self._pending.is_flushing()

    def waits_its_time(self) -> bool:
        """Whether something is pending that a stop would do too early: what has a delay, or a rebound."""
        with self._lock:
            return self._pending.waits_its_time()

    def is_settled(self) -> bool:
        """Whether no flush is outstanding, or it cannot be done now: a pause keeps it, or the backend has failed."""
        with self._lock:
            return self._paused or not self._pending.is_flushing() or self._pending.failures > 0

    def is_sound(self) -> bool:
        """Whether the backend has done all that was due: no flush is owed, and nothing that it was asked for failed."""
        with self._lock:
            return not self._pending.is_overdue()

    def describe(self) -> LaneReport:
        """What a person may ask of it."""
        with self._lock:
            return describe(
                self.backend.node, self._pending, self._receipts, self.dead_letters.count, paused=self._paused
            )

    def next_due(self, now: float) -> float:
        """Seconds until `turn` and `vouch` should be called; infinite for a lane with a thread."""
        if not self.backend.inline:
            return float("inf")
        with self._lock:  # one that is paused has been told that nothing is vouched for
            return self._due(now) if self._paused else min(VOUCHED_EVERY, self._due(now))

    def fileno(self) -> int | None:
        """What to wait for before `turn` has something to do; None for a lane with a thread."""
        return None

    def turn(self) -> None:
        """For inline backends: purge everything that is due, on the caller's thread."""
        if self.backend.inline:
            while batch := self._take():
                self._attempt(batch)
            self._count_what_waits()

    def pause(self) -> None:
        """Begin nothing new until `resume`; what is in flight is finished. What comes meanwhile is pending."""
        with self._lock:
            self._paused = True
        self.vouch(0.0)

    def resume(self) -> None:
        """Go on."""
        with self._lock:
            self._paused = False
            self._pending.resume(clock())
            self._wake()

    def vouch(self, until: float) -> None:
        """Tell an inline backend how long the subscription is known to be alive; 0.0: it is not.

        One that owes a flush, or has failed, or is paused, is not told that all is well: what it serves could be older
        than a message that it was asked to act on. What merely gathers, as its operator wished, is no debt.
        """
        if self.backend.inline:
            self._guarded.subscribed(until if self.is_sound() and not self._paused else 0.0)

    def stop(self) -> None:
        """Do what is pending without waiting for its time, and then end. Returns at once; `join` waits."""
        with self._lock:
            self._stopping = True
            self._pending.hurry()
            self._wake()
        if self.backend.inline:
            self.turn()
            self._guarded.close()

    def wait(self, deadline: float) -> None:
        """Wait for the end until this monotonic second."""
        if self._thread:
            self._thread.join(max(0.0, deadline - clock()))

    def join(self, deadline: float) -> int:
        """Wait for the end until this monotonic second. Returns how many targets were still pending then.

        They are dead-lettered, as nobody else knows of them; what stands in the journal is not, and comes again from
        there. Targets behind a flush that is still owed remain with it.
        """
        self.wait(deadline)
        with self._lock:
            left = len(self._pending)
            # A stop after the other, with the backend away all the time, would otherwise fill the box with the same.
            self._bury(self._pending.abandon(), STOPPED, self.dead_letters.standing())
            self._given_up = True
            self._condition.notify()
        self._tell_who_waits()
        return left

    def _wake(self) -> None:
        """There is something to do for whoever does it. Called under the lock, as the next two."""
        self._condition.notify()

    def _took_in(self) -> None:
        """Targets have come. For an inline backend the next turn counts them with what becomes of them."""
        if self.backend.inline:
            self._uncounted = True
        else:
            self._receipts.count(self._pending)
            self._wake()

    def _count_what_waits(self) -> None:
        if self._uncounted:
            with self._lock:
                self._uncounted = False
                self._receipts.count(self._pending)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._attempt(batch)
        except BaseException as error:  # noqa: BLE001  # see below
            # A lane that ended here would fill up without a word. The worker's successor begins with a flush.
            self._log.error("lane.crashed", error=repr(error), traceback=traceback.format_exc()[-2000:])
            os._exit(EXIT_BUG)
        self._guarded.close()

    def _next_batch(self) -> Batch | None:
        with self._lock:
            while not self._given_up:
                if batch := self._next():
                    return batch
                # A limit that allows nothing now will allow it soon; a backend that fails was asked once more.
                if self._stopping and not self._pending.is_deferred():
                    break
                self._condition.wait(self._rest())
        return None

    def _next(self) -> Batch | None:
        return self._ready()

    def _rest(self) -> float | None:
        due = self._due(clock())
        return None if due == float("inf") else due

    def _take(self) -> Batch | None:
        with self._lock:
            return self._ready()

    def _ready(self) -> Batch | None:
        return None if self._paused and not self._stopping else self._pending.take(clock())

    def _due(self, now: float) -> float:
        return float("inf") if self._paused and not self._stopping else self._pending.next_due(now)

    def _attempt(self, batch: Batch) -> None:
        started = clock()
        self._finish(batch, self._guarded.ask(batch), started)

    def _finish(self, batch: Batch, result: PurgeResult, started: float) -> None:
        """What the answer to a batch means, which was asked for at this monotonic second."""
        ended = clock()
        result = self._pending.judge(result, ended)
        # On the disk before they are counted, and outside the lock: the reader must not wait for the disk.
        poison = list(self._pending.poison(result).items())
        kept = self.dead_letters.write(poison, time.time()) if poison else 0
        unkept = len(poison) - kept
        receipt = Receipt(batch, result, ended - started, dry_run=self.policy.dry_run)
        with self._lock:
            origin = self._pending.in_flight() if self.herald else NO_ORIGIN
            stamps = self._pending.settle(batch, result, ended, unkept=unkept)
            wall = time.time()
            self._uncounted = False
            self._receipts.acknowledge(receipt, self._pending, [wall - stamp for stamp in stamps], wall)
            news = self.herald.answered(batch, result, self._pending, ended, origin)
            self._onlookers.answered(batch, result, poison, kept)
        self.herald.tell(news)
        self._onlookers.see(receipt)
        self._tell_who_waits()
        # The worker's loop may be waiting for this flush, or else vouch for what could not be purged for a while yet.
        if batch.cause or (self.backend.inline and result.failures):
            self._changed()

    def _tell_who_waits(self) -> None:
        if not self._onlookers.wait:
            return
        with self._lock:
            ended = self._onlookers.take(self._pending.settled_through())
        self._onlookers.tell(ended)

    def _bury(self, targets: Sequence[Target], reason: str, standing: Collection[Target] = ()) -> None:
        new = [(target, reason) for target in targets if target not in standing]
        kept = len(targets) - len(new) + (self.dead_letters.write(new, time.time()) if new else 0)
        self._onlookers.died(targets, kept, reason)
        self._pending.end("dead", kept)
        self._pending.end("lost", len(targets) - kept)
        self._receipts.count(self._pending)
        if targets and (held := self._seldom.due(reason, clock())) is not None:
            self._log.error("lane.dead_lettered", reason=reason, kept=kept, lost=len(targets) - kept, held_back=held)
