"""What a person may ask of a lane: a value, made when asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.pipeline.coalescer import Pending
    from invalidator.pipeline.receipts import Receipts
    from invalidator.status import BreakerState


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane at one moment. Times are wall seconds, 0 for what has not happened.

    `since` is when the breaker left "closed", 0 while it is. `reason` and `detail` are those of the last failure.
    """

    backend: str
    node: str
    pending: int
    breaker: BreakerState
    since: float
    flush_owed: bool
    last_ok: float
    last_failure: float
    reason: str
    detail: str
    paused: bool


def describe(node: str, pending: Pending, receipts: Receipts, *, paused: bool) -> LaneState:
    """The state of the lane that these belong to."""
    failure = receipts.failure
    return LaneState(
        backend=pending.policy.backend,
        node=node,
        pending=len(pending),
        breaker=pending.breaker.state,
        since=receipts.opened,
        flush_owed=pending.is_flushing(),
        last_ok=receipts.last_ok,
        last_failure=receipts.last_failure,
        reason=failure.reason if failure else "",
        detail=failure.detail if failure else "",
        paused=paused,
    )
