"""What a lane at rest makes of plain keys: they are in flight at once. Pure.

To take them in, and out again in the next turn, ends the same, and keeps the first key of a quiet stream for about as
long as its purge takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.lanes.admission import is_plain
from invalidator.lanes.pace import ATTEMPT_SECONDS
from invalidator.lanes.subsumption import Subsuming
from invalidator.lanes.wishes import Stamp, Wishes
from invalidator.messages import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.messages import Batch, Invalidation


class Immediate(Subsuming):
    """One lane's work, where a batch can be sent as it comes."""

    def take_at_once(self, invalidations: Sequence[Invalidation], now: float) -> Batch | None:
        """All of an offer as the batch in flight; None, and nothing has happened, if it is to be taken in."""
        first = invalidations[0] if len(invalidations) == 1 else None
        if first is None or not isinstance(first.targets, Keys) or first.reply or not is_plain(self.policy, first):
            return None
        keys = first.targets
        if len(self) or self._flushes or self.policy.window or now < self.pace.due:
            return None  # something waits, or is asked, or is to be waited for
        if len(keys) > self.pace.next_size() or not self.takes_keys(len(keys)):
            return None
        taken = Wishes()
        self.received += len(keys)
        self.ends["coalesced"] += taken.put_keys(keys, Stamp(first.ts, self.heard, self.policy.journal))
        self._backlog.choose(fresh=True, again=False).took_soft = False  # soft ones are next, if any come meanwhile
        self._flight, self._flushed_last, self._collapsed = taken.hard, False, False
        return self._asked(self._flight, now + ATTEMPT_SECONDS, soft=False)
