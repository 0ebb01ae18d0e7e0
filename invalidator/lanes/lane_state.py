"""What a person may ask of a lane: made when asked, and what the supervisor is told when it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.channel import LONGEST_TEXT, LaneReport

if TYPE_CHECKING:
    from invalidator.lanes.coalescer import Pending
    from invalidator.lanes.receipts import Receipts


def describe(node: str, pending: Pending, receipts: Receipts, letters: int, *, paused: bool) -> LaneReport:
    """The state of the lane that these belong to."""
    failure = receipts.failure
    return LaneReport(
        backend=pending.policy.backend,
        node=node,
        pending=len(pending),
        purged_at=receipts.last_ok,
        breaker=pending.breaker.state,
        breaker_since=receipts.opened,
        flush_owed=pending.is_flushing(),
        failed_at=receipts.last_failure,
        reason=failure.reason if failure else "",
        detail=failure.detail[:LONGEST_TEXT] if failure else "",
        paused=paused,
        dead_letters=letters,
    )
