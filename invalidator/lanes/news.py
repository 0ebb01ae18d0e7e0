"""What a lane tells those that come after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.lanes.receipts import is_done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator.lanes.coalescer import Pending
    from invalidator.messages import Batch, PurgeResult, Target


@dataclass(frozen=True, slots=True)
class News:
    """Targets have come to an end at this monotonic second, each with whether it is pending again; or a flush has.

    `heard` is the number of the last offer that the lane had taken in by then, or before it began the flush.
    """

    at: float
    heard: int
    targets: tuple[tuple[Target, bool], ...] = ()
    soft: bool = False
    flush: bool = False


def of_answer(batch: Batch, result: PurgeResult, pending: Pending, at: float) -> News | None:
    """What an answer ended, after it was settled; None if that is nothing."""
    if batch.cause:
        return News(at, pending.flush_heard, flush=True) if is_done(result) else None
    going_on = {*result.deferred, *(failure.target for failure in result.failures if failure.retry)}
    given_up = {failure.target for failure in result.failures} - going_on
    ended = [
        (target, pending.is_wished(target, purged=target not in given_up))
        for target in targets_of(batch)
        if target not in going_on
    ]
    return News(at, pending.heard, tuple(ended), batch.soft) if ended else None


def of_given_up(targets: Iterable[Target], pending: Pending, at: float) -> News:
    """That nobody will purge these."""
    return News(at, pending.heard, tuple((target, pending.is_wished(target, purged=False)) for target in targets))


class Herald:
    """Tells a lane's news to those that come after it; costs nothing where nobody does."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[News], None]] = []

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Callable[[News], None]) -> None:
        """From now on this is told too: on the thread of the lane, which holds no lock then."""
        self._listeners.append(listener)

    def tell(self, news: News | None) -> None:
        """If there is any."""
        if news:
            for listener in self._listeners:
                listener(news)
