"""For whom a lane works, and what its operator wants of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.lanes.tiers import AT_ONCE, Order
from invalidator.lanes.wishes import covers
from invalidator.messages import KINDS, Kind

if TYPE_CHECKING:
    from invalidator.messages import Target

LANE_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Policy:
    """One lane's settings; times are seconds.

    `kinds` are those that the backend can purge; others are skipped, or with `widen` become the flush. `flush` is what
    that means, `on_gap` whether a Gap asks for it. `window` is how long to gather, `limit` how many targets. `dry_run`
    says that the backend is never asked, `order` when it is. `journal`: what is offered from the journal comes again
    from there, so that a full lane may refuse it.
    """

    worker: str
    backend: str
    kinds: frozenset[Kind] = frozenset(KINDS)
    flush: tuple[Target, ...] = ()
    on_gap: bool = False
    widen: bool = False
    window: float = 0.0
    limit: int = LANE_LIMIT
    dry_run: bool = False
    order: Order = AT_ONCE
    journal: bool = False

    def takes(self, kind: Kind) -> bool:
        """Whether a target of this kind has anything done about it: purged, or widened to the flush."""
        return kind in self.kinds or self.widens

    @property
    def widens(self) -> bool:
        """Whether a kind that the backend lacks becomes the flush."""
        return self.widen and bool(self.flush)

    def stands_for(self, target: Target) -> bool:
        """Whether the flush takes the place of this target: it covers it, or is what a kind is widened to."""
        return target.kind not in self.kinds or self.is_covered(target)

    def is_covered(self, target: Target) -> bool:
        """Whether the flush purges this target too."""
        return any(covers(wider, target) for wider in self.flush)
