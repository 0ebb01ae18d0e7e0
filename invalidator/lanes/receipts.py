"""Acknowledged: what became of each batch is counted and, where a person should know, said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.lanes.budget import CONFIGURATION
from invalidator.logs import Logger, Occasionally
from invalidator.slots import ENDS, clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.lanes.coalescer import Pending
    from invalidator.messages import Failure, PurgeResult, Receipt
    from invalidator.slots import BackendSlots


class Receipts:
    """One lane's accounts. `Pending` counts; what has changed since the last time goes to the shared slots at once.

    `last_ok` and `last_failure` are wall seconds, `failure` is the last one: what a person asks first.
    """

    def __init__(self, slots: BackendSlots, log: Logger) -> None:
        self.last_ok = 0.0
        self.last_failure = 0.0
        self.failure: Failure | None = None
        self.opened = 0.0
        """The wall second at which the lane's circuit breaker opened; 0.0 while it is closed."""
        self._slots = slots
        self._log = log
        self._seldom = Occasionally(5.0)
        self._published: dict[str, int] = dict.fromkeys((*ENDS, "received", "pending", "pending_unjournaled"), 0)
        self._failing = False

    def count(self, pending: Pending) -> None:
        """Targets have come, or ended without a batch."""
        if changes := self._changes(pending):
            self._slots.add(changes)

    def acknowledge(self, receipt: Receipt, pending: Pending, propagation: Iterable[float], wall: float) -> None:
        """A batch was answered at this wall second.

        `propagation` has the seconds since their publication of the targets that it purged.
        """
        batch, result = receipt.batch, receipt.result
        if receipt.dry_run:
            self.count(pending)  # nobody was asked: there is nothing to say of a backend
            return
        changes = self._changes(pending)
        if result.failures:
            changes |= {f"failed:{reason}": 1 for reason in {failure.reason for failure in result.failures}}
        if batch.cause and is_done(result):
            changes[f"flush:{batch.cause}"] = 1
        tried, purged_at = was_tried(receipt), 0.0
        if result.failures:
            self.last_failure = wall
            self.failure = result.failures[0]
        elif tried:
            self.last_ok = purged_at = wall
        took = receipt.seconds if tried else None
        self._slots.add(changes, purge=took, propagation=propagation, last_purge=purged_at)
        self._break(pending.breaker.opened is not None, wall)
        if tried:
            self._say(receipt)

    def _break(self, is_open: bool, wall: float) -> None:
        if is_open == bool(self.opened):
            return
        self.opened = wall if is_open else 0.0
        if is_open and self.failure:
            self._log.warning("breaker.opened", reason=self.failure.reason, detail=self.failure.detail)
        elif not is_open:
            self._log.info("breaker.closed")

    def _changes(self, pending: Pending) -> dict[str, int]:
        counts = {"received": pending.received, "pending": len(pending), "pending_unjournaled": pending.unjournaled}
        counts.update(pending.ends.items())
        before, self._published = self._published, counts
        return {name: count - before[name] for name, count in counts.items() if count != before[name]}

    def _say(self, receipt: Receipt) -> None:
        batch, failures = receipt.batch, receipt.result.failures
        if failures:
            self._say_failed(receipt)
        elif self._failing:
            self._failing = False
            self._log.info("purge.recovered")
        if batch.cause and is_done(receipt.result):
            self._log.info("flush.done", cause=batch.cause, seconds=receipt.seconds)

    def _say_failed(self, receipt: Receipt) -> None:
        self._failing = True
        for failure in {failure.reason: failure for failure in receipt.result.failures}.values():
            held = self._seldom.due(failure.reason, clock())
            if held is None:
                continue
            loud = not failure.retry or failure.reason in CONFIGURATION  # it does not pass by itself
            say = self._log.error if loud else self._log.warning
            say(
                "purge.failed",
                reason=failure.reason,
                detail=failure.detail,
                targets=len(receipt.result.failures),
                example=failure.target.value or failure.target.kind,
                attempt=receipt.batch.attempt,
                again="yes" if failure.retry else "no",
                held_back=held,
            )


def is_done(result: PurgeResult) -> bool:
    """Whether everything that was asked for has been purged."""
    return not result.failures and not result.deferred


def was_tried(receipt: Receipt) -> bool:
    """Whether the backend has tried any of it, or has put off all of it."""
    deferred = receipt.result.deferred
    return not deferred or not set(deferred).issuperset(targets_of(receipt.batch))
