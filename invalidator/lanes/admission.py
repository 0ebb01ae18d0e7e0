"""What a lane takes of an offer, and what it refuses because it comes again by itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.lanes.coalescer import Pending
    from invalidator.messages import Invalidation, Target


class Admitted(NamedTuple):
    """How many messages were taken before the first that was refused; and targets for which there was no room."""

    taken: int
    homeless: list[Target]


def admit(pending: Pending, invalidations: Sequence[Invalidation], now: float) -> Admitted:
    """Have a lane take these in.

    A lane that reads from a journal refuses what stands there when it is full, and all of the journal that comes after
    it in the offer, as it is read again from there. What stands nowhere else is taken, and collapses a full lane; so
    does a message that no empty lane would hold.
    """
    homeless: list[Target] = []
    if not pending.policy.journal:
        for invalidation in invalidations:
            homeless += pending.offer(invalidation, now)
        return Admitted(len(invalidations), homeless)
    taken = len(invalidations)
    for place, invalidation in enumerate(invalidations):
        size = len(invalidation.targets)
        if invalidation.journal and (place > taken or pending.room() < size <= pending.policy.limit):
            taken = min(taken, place)
            pending.received += size
            pending.end("coalesced", size)  # with what comes from the journal
        else:
            homeless += pending.offer(invalidation, now)
    return Admitted(taken, homeless)
