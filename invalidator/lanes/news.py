"""What a lane tells those that come after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.lanes.receipts import is_done
from invalidator.lanes.wishes import UNROOTED, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from invalidator.lanes.coalescer import Pending
    from invalidator.messages import Batch, PurgeResult, Target


@dataclass(frozen=True, slots=True)
class News:
    """Targets have come to an end at this monotonic second, each with whether it is pending again; or a flush has.

    `heard` is the number of the last offer that the lane had taken in by then, or before it began the flush. `root` is
    that of the oldest offer of which this is news; `journaled`: all of them stand in a journal.
    """

    at: float
    heard: int
    targets: tuple[tuple[Target, bool], ...] = ()
    soft: bool = False
    flush: bool = False
    root: int = UNROOTED
    journaled: bool = False


NO_ORIGIN = Stamp(None, UNROOTED)


def of_answer(batch: Batch, result: PurgeResult, pending: Pending, at: float, origin: Stamp) -> News | None:
    """What an answer ended, after it was settled; None if that is nothing. `origin` is what was in flight before."""
    if batch.cause:
        return News(at, pending.flush_heard, flush=True, root=origin.first) if is_done(result) else None
    going_on = {*result.deferred, *(failure.target for failure in result.failures if failure.retry)}
    given_up = {failure.target for failure in result.failures} - going_on
    ended = [
        (target, pending.is_wished(target, purged=target not in given_up))
        for target in targets_of(batch)
        if target not in going_on
    ]
    return News(at, pending.heard, tuple(ended), batch.soft, False, origin.first, origin.journaled) if ended else None


def of_given_up(targets: Iterable[Target], pending: Pending, at: float, root: int = UNROOTED) -> News:
    """That nobody will purge these, which came with the offer `root`."""
    given_up = tuple((target, pending.is_wished(target, purged=False)) for target in targets)
    return News(at, pending.heard, given_up, root=root)


class Herald:
    """Tells a lane's news to those that come after it; costs nothing where nobody does.

    What they make of it stands in no cursor of theirs, which may have moved long before. So the lane's own waits for
    them: whoever is killed in between does its part once more, and then they hear of it again.
    """

    def __init__(self) -> None:
        self._listeners: list[tuple[Callable[[News], None], Callable[[], float]]] = []
        self._untold: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Callable[[News], None], followed_through: Callable[[], float]) -> None:
        """From now on this is told too: on the thread of the lane, which holds no lock then.

        `followed_through` says up to which number it has done what it was told of.
        """
        self._listeners.append((listener, followed_through))

    # What is about to be told is noted under the lock under which it came to its end.

    def answered(self, batch: Batch, result: PurgeResult, pending: Pending, at: float, origin: Stamp) -> News | None:
        """See of_answer: to be told when the lock is free again."""
        return self._noted(of_answer(batch, result, pending, at, origin)) if self else None

    def gave_up(self, targets: Collection[Target], pending: Pending, at: float, root: int) -> News | None:
        """See of_given_up: to be told when the lock is free again."""
        return self._noted(of_given_up(targets, pending, at, root)) if self and targets else None

    def tell(self, news: News | None) -> None:
        """If there is any."""
        if news:
            for listener, _ in self._listeners:
                listener(news)
            self._untold.remove(news.root)

    def _noted(self, news: News | None) -> News | None:
        if news:
            self._untold.append(news.root)
        return news

    def followed_through(self) -> float:
        """The number up to which all has been told and done; infinite if nothing is left. Holds one lock at a time."""
        # First what is yet to be told: what is told meanwhile is found with those that it is told to.
        untold = min(tuple(self._untold), default=UNROOTED) - 1
        return min((float(untold), *(followed() for _, followed in self._listeners)))
