"""Delivered: what a worker does with what it has heard, and about what it may have missed.

There are two ways. Here is the plain one, where what may have been missed is flushed; the other, which reads it again
from the journal, is in exact.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from invalidator.messages import Gap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from invalidator.channel import LaneReport
    from invalidator.messages import Invalidation
    from invalidator.pipeline.dispatcher import Dispatcher


class Delivery(Protocol):
    """Called by the worker's loop, and never waits. Times are monotonic seconds."""

    @property
    def trouble(self) -> tuple[str, str]:
        """Why not everything can be promised now: a reason in one word and its detail; empty if it can."""

    def heard(self, invalidations: Sequence[Invalidation], now: float) -> None:
        """These have come from Pub/Sub."""

    def gap(self, gap: Gap, now: float) -> None:
        """A subscription is confirmed, and before that messages may have been missed."""

    def take_over(self, gap: Gap, now: float, heard: Collection[str]) -> None:
        """The same; but for these backends another process that is this worker, and hears yet, has missed nothing."""

    def make_up_for(self, undone: Collection[str], now: float) -> None:
        """Another process that was this worker has ended, and has left something undone for these backends."""

    def turn(self, now: float) -> Sequence[Gap]:
        """Do what is due. Returns Gaps that were found on another way than by the subscription."""

    def is_crowded(self) -> bool:
        """Whether no more should be heard for a moment: what was heard has to be made sure of first."""

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called."""

    def proven_until(self, until: float, now: float) -> float:
        """Until when all promises hold, if the subscription is alive `until` then; 0.0: they do not."""

    def current_until(self, until: float) -> float:
        """The same for whoever must have been told of everything by now."""

    def is_settled(self) -> bool:
        """Whether a successor would have something to go on from."""

    def describe(self, lanes: Iterable[LaneReport]) -> Iterable[LaneReport]:
        """What is to be said of lanes, with what they do not know themselves."""

    def stop(self, deadline: float) -> None:
        """The lanes have ended: keep what a successor has to know, until this second."""


class PubSub:
    """What was heard is dispatched; what may have been missed is flushed."""

    trouble = ("", "")

    def __init__(self, dispatcher: Dispatcher, *, flush_on_start: bool) -> None:
        self._dispatcher = dispatcher
        self._flush_on_start = flush_on_start

    def heard(self, invalidations: Sequence[Invalidation], now: float) -> None:
        """See Delivery."""
        self._dispatcher.dispatch(invalidations, now)

    def gap(self, gap: Gap, now: float) -> None:
        """See Delivery."""
        # Memory is flushed at every start: it costs a refill, and an application may have outlived the last daemon.
        self._dispatcher.flush(gap, now, only_memory=gap.cause == "start" and not self._flush_on_start)

    def take_over(self, gap: Gap, now: float, heard: Collection[str]) -> None:
        """See Delivery."""
        self._dispatcher.flush(gap, now, spared=heard)

    def make_up_for(self, undone: Collection[str], now: float) -> None:
        """See Delivery."""
        self._dispatcher.flush(Gap("start", now, now), now, only=undone)

    def turn(self, now: float) -> Sequence[Gap]:
        """See Delivery."""
        del now
        return ()

    def is_crowded(self) -> bool:
        """See Delivery."""
        return False

    def next_due(self, now: float) -> float:
        """See Delivery."""
        del now
        return float("inf")

    def proven_until(self, until: float, now: float) -> float:
        """See Delivery."""
        del now
        return until

    def current_until(self, until: float) -> float:
        """See Delivery."""
        return until

    def is_settled(self) -> bool:
        """See Delivery."""
        return True

    def describe(self, lanes: Iterable[LaneReport]) -> Iterable[LaneReport]:
        """See Delivery."""
        return lanes

    def stop(self, deadline: float) -> None:
        """See Delivery."""
