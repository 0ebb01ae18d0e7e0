"""What a lane takes of an offer, and what it refuses because it comes again by itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from invalidator.messages import Invalidation, Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.lanes.coalescer import Pending
    from invalidator.lanes.policy import Policy
    from invalidator.messages import Target


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
            homeless += offer(pending, invalidation, now)
        return Admitted(len(invalidations), homeless)
    taken = len(invalidations)
    for place, invalidation in enumerate(invalidations):
        size = len(invalidation.targets)
        if invalidation.journal and (place > taken or pending.room() < size <= pending.policy.limit):
            taken = min(taken, place)
            pending.received += size
            pending.end("coalesced", size)  # with what comes from the journal
        else:
            homeless += offer(pending, invalidation, now)
    return Admitted(taken, homeless)


def is_plain(policy: Policy, invalidation: Invalidation) -> bool:
    """Whether, if it asks for keys, the lane removes them, and all come again by themselves where it counts on that."""
    return "key" in policy.kinds and not invalidation.soft and policy.journal == bool(invalidation.journal)


def offer(pending: Pending, invalidation: Invalidation, now: float) -> list[Target]:
    """Have a lane take in what a message asks for. Returns as Pending.add."""
    targets, soft, policy = invalidation.targets, invalidation.soft, pending.policy
    if isinstance(targets, Keys):
        if is_plain(policy, invalidation) and pending.takes_keys(len(targets)):
            pending.add_keys(targets, invalidation.ts, now)
            return []
        if targets.times:
            apart = (Invalidation(Keys((key,)), ts=ts) for key, ts in zip(targets.names, targets.times, strict=True))
            return [homeless for one in apart for homeless in offer(pending, one, now)]
    journaled = bool(invalidation.journal)
    if policy.journal and not journaled:
        pending.hear_unjournaled(len(targets))
    unfit = [target for target in targets if target.kind not in policy.kinds]
    homeless = []
    if unfit and policy.widens:
        homeless = pending.widen(unfit, soft=soft, now=now)
    elif unfit:
        pending.skip(len(unfit))
    fit = [target for target in targets if target.kind in policy.kinds] if unfit else targets
    return homeless + pending.add(fit, soft=soft, ts=invalidation.ts, now=now, journaled=journaled)
