"""The lanes of a worker as readers of the journal: who is given what, and who falls behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.journal.position import Position
from invalidator.replay.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from invalidator.journal.cursors import Cursor
    from invalidator.journal.entry import EntryId
    from invalidator.messages import Gap, Invalidation
    from invalidator.pipeline.dispatcher import Dispatcher

Passage = list[tuple["EntryId", "Invalidation"]]
"""Entries of the journal that are this worker's, in their order, each as what it asks for."""


class Readership:
    """All lanes, in the order in which they are offered things: those that follow others go first."""

    def __init__(self, dispatcher: Dispatcher, cursors: Mapping[str, Cursor], heard: Collection[str] = ()) -> None:
        """`heard` are the backends for which a predecessor goes on until this process hears."""
        self._dispatcher = dispatcher
        self.readers = [
            Reader(lane, cursors.get(lane.name), is_heard=lane.policy.backend in heard)
            for lane in reversed(dispatcher.lanes)
        ]

    def __iter__(self) -> Iterator[Reader]:
        return iter(self.readers)

    @property
    def followers(self) -> list[Reader]:
        """Those that are given what the worker hears and reads."""
        return [reader for reader in self.readers if reader.behind is None]

    @property
    def stragglers(self) -> list[Reader]:
        """Those that have a place of their own."""
        return [reader for reader in self.readers if reader.behind is not None]

    def number(self) -> int:
        """For what is offered next."""
        return self._dispatcher.number()

    def tell(self, invalidations: Sequence[Invalidation], now: float, number: int) -> None:
        """What stands in no journal goes to every lane: nobody would read it again."""
        for reader in self.readers if invalidations else ():
            reader.offer(invalidations, now, number)

    def tell_followers(self, heard: Sequence[Invalidation], now: float, number: int, tail: Position) -> None:
        """What was heard, and will be read behind `tail`. Who has no room for it falls behind."""
        for reader in self.followers if heard else ():
            if reader.offer(heard, now, number) < len(heard):
                reader.fall_behind(tail, number)

    def tell_stragglers(self, heard: Sequence[Invalidation], now: float, number: int) -> None:
        """The journal cannot be read now. It is given again to those that are behind; but nobody knows when."""
        for reader in self.stragglers if heard else ():
            reader.offer(heard, now, number)

    def hand_out(self, passage: Passage, heard: Mapping[EntryId, int], now: float, tail: Position) -> int:
        """What was read behind `tail` goes to every follower that was not given it when it was heard.

        `heard` has the numbers under which that was. Returns how many messages were new to all.
        """
        number = self.number()
        fresh = [item for item in passage if item[0] not in heard]
        for reader in self.followers:
            taken = {at for at, told in heard.items() if reader.took(told)}
            wanted = fresh if len(taken) == len(heard) else [item for item in passage if item[0] not in taken]
            if not wanted:
                continue
            count = reader.offer([invalidation for _, invalidation in wanted], now, number)
            if count < len(wanted):
                reader.fall_behind(Position(wanted[count - 1][0]) if count else tail, number)
        return len(fresh)

    def send_back(self) -> None:
        """Who was too full for what a lane that goes first gave reason for gets all of it again, from that one's place.

        Nothing else would make up for that: its own place is beyond it. The other's is not, as it waits for this one.
        """
        for reader in self.readers:
            if reader.lane.take_refused():
                place = min((one.place for one in self._line_to(reader)), key=lambda place: place.at)
                reader.go_back(place, self.number())

    def line_from(self, first: Reader) -> list[Reader]:
        """This one, and all that come after it."""
        line = {first.lane.policy.backend: [first]}
        for reader in reversed(self.readers):
            if reader.lane.policy.order.after in line:
                line.setdefault(reader.lane.policy.backend, []).append(reader)
        return [reader for readers in line.values() for reader in readers]

    def _line_to(self, last: Reader) -> Iterator[Reader]:
        """This one, and all that go before it. Those that follow others stand first in the list."""
        awaited = {last.lane.policy.backend}
        for reader in self.readers:
            if reader.lane.policy.backend in awaited:
                awaited.add(reader.lane.policy.order.after)
                yield reader

    def flush(self, readers: Collection[Reader], gap: Gap, now: float) -> None:
        """Have these do what their policies say of a Gap, and remember it until it is done."""
        number = self._dispatcher.flush_lanes([reader.lane for reader in readers], gap, now)
        for reader in readers:
            reader.flushes(gap.cause, number)
