"""Acknowledged: what became of each batch is counted and, where a person should know, said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.logs import Logger, Occasionally
from invalidator.slots import ENDS, clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.messages import Receipt
    from invalidator.pipeline.coalescer import Pending
    from invalidator.slots import BackendSlots


class Receipts:
    """One lane's accounts. `Pending` counts; what has changed since the last time goes to the shared slots at once."""

    def __init__(self, slots: BackendSlots, log: Logger) -> None:
        self._slots = slots
        self._log = log
        self._seldom = Occasionally(5.0)
        self._published: dict[str, int] = dict.fromkeys((*ENDS, "received", "pending"), 0)
        self._failing = False

    def count(self, pending: Pending) -> None:
        """Targets have come, or ended without a batch."""
        if changes := self._changes(pending):
            self._slots.add(changes)

    def acknowledge(self, receipt: Receipt, pending: Pending, propagation: Iterable[float]) -> None:
        """A batch was answered; `propagation` has the seconds since their publication of the targets that it purged."""
        changes = self._changes(pending)
        changes |= {f"failed:{reason}": 1 for reason in {failure.reason for failure in receipt.result.failures}}
        if receipt.batch.cause and not receipt.result.failures:
            changes[f"flush:{receipt.batch.cause}"] = 1
        self._slots.add(changes, purge=receipt.seconds, propagation=propagation)
        self._say(receipt)

    def _changes(self, pending: Pending) -> dict[str, int]:
        counts: dict[str, int] = {"received": pending.received, "pending": len(pending)}
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
        if batch.cause and not failures:
            self._log.info("flush.done", cause=batch.cause, seconds=receipt.seconds)

    def _say_failed(self, receipt: Receipt) -> None:
        self._failing = True
        for failure in {failure.reason: failure for failure in receipt.result.failures}.values():
            held = self._seldom.due(failure.reason, clock())
            if held is None:
                continue
            say = self._log.warning if failure.retry else self._log.error
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
