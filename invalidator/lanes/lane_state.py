"""What a person may ask of a lane: made when asked, and what the supervisor is told when it has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.channel import LONGEST_TEXT, LaneReport
from invalidator.slots import clock

if TYPE_CHECKING:
    from invalidator.lanes.coalescer import Pending
    from invalidator.lanes.receipts import Receipts


SOON = 2.0
"""Seconds: until then nobody need be told when a backend is asked again."""


def describe(node: str, pending: Pending, receipts: Receipts, letters: int, *, paused: bool) -> LaneReport:
    """The state of the lane that these belong to."""
    failure = receipts.failure
    waits = len(pending) or pending.is_flushing()
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
        next_try=0.0 if paused or not waits else _next_try(pending.pace.held_until - clock()),
    )


def _next_try(seconds: float) -> float:
    # To the second: two clocks never agree to the last digit, and each new word would be one for the supervisor.
    return float(round(time.time() + seconds)) if seconds > SOON else 0.0
