"""Which calls go now, and what comes again later: what a backend remembers between two batches. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from invalidator.cdn.gathering import Pace, Rest, due
from invalidator.cdn.packing import Parcel, Unit, halves, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from invalidator.cdn.vendor import Named
    from invalidator.messages import Target


def spared(
    named: list[tuple[Target, Named]], everything: str
) -> tuple[list[tuple[Target, Named]], list[tuple[Target, Named]]]:
    """What is to be asked for, and what that covers: a call for everything spares all others of its batch.

    A batch is soft or hard as a whole, so that nothing hard is left to a call that only marks stale.
    """
    whole = [(target, name) for target, name in named if name.group == everything]
    return (whole, [(target, name) for target, name in named if name.group != everything]) if whole else (named, [])


class Plan(NamedTuple):
    """`ready`: what may go now, oldest first. `later`: what gathers, and the monotonic second to ask for it again."""

    ready: list[Parcel]
    later: list[tuple[Parcel, float]]


@dataclass(slots=True)
class _Shelf:
    """What waits of one group of calls, and when the newest of it came."""

    units: dict[Target, Unit] = field(default_factory=dict)
    grown: float = 0.0


@dataclass(slots=True)
class Planner:
    """Remembers, of what was put off, since when it waits. Soft and hard never share a call."""

    pace: Pace = field(default_factory=Pace)
    _shelves: dict[tuple[str, bool], _Shelf] = field(default_factory=dict)
    _suspects: Iterator[int] = field(default_factory=lambda: count(1))

    def known(self, target: Target, *, soft: bool) -> tuple[str, Unit] | None:
        """A target that was put off: the group it belongs to, and its unit."""
        for (group, softness), shelf in self._shelves.items():
            if softness == soft and (unit := shelf.units.get(target)) is not None:
                return group, unit
        return None

    def plan(
        self,
        named: Iterable[tuple[Target, Named]],
        size: Callable[[str], int],
        now: float,
        *,
        soft: bool,
        hurry: bool,
        fullness: Callable[[str], float],
    ) -> Plan:
        """Take what a batch asks for. `hurry`: nothing will be added, so that waiting for it gains nothing.

        `fullness`: the share that is left of the bucket that calls of a group are taken from.
        """
        groups: dict[str, dict[Target, Unit]] = {}
        for target, (group, values) in named:
            shelf = self._shelf(group, soft=soft)
            unit = shelf.units.get(target)
            if unit is None:
                unit, shelf.grown = Unit(target, values, now), now
            groups.setdefault(group, {})[target] = unit
        ready: list[Parcel] = []
        later: list[tuple[Parcel, float]] = []
        for group, units in groups.items():
            shelf = self._shelf(group, soft=soft)
            # A flush says nothing of what else waits here; any other batch brings all that does.
            shelf.units = shelf.units | units if hurry else units
            for parcel in pack(group, units.values(), size(group)):
                rest = Rest(parcel.amount, size(group), parcel.since, shelf.grown)
                again = 0.0 if parcel.full or hurry else self._again(rest, now, fullness(group))
                if again > now:
                    later.append((parcel, again))
                else:
                    ready.append(parcel)
        # The oldest first, but what is full before what is not, for a while: a token that a half empty call takes is
        # one that a full one waits for.
        ready.sort(key=lambda parcel: parcel.since + self.pace.scarce * (not parcel.full))
        return Plan(ready, later)

    def done(self, parcels: Iterable[Parcel], *, soft: bool) -> None:
        """These have been sent: whatever the answer, they begin anew if they come again."""
        for parcel in parcels:
            units = self._shelf(parcel.group, soft=soft).units
            for unit in parcel.units:
                units.pop(unit.target, None)

    def suspect(self, parcel: Parcel, *, soft: bool) -> None:
        """This call was refused, most likely because of one target: each half of it is asked for by itself."""
        units = self._shelf(parcel.group, soft=soft).units
        units.update((unit.target, unit) for unit in halves(parcel.units, self._suspects))

    def _again(self, rest: Rest, now: float, fullness: float) -> float:
        at, full = due(rest, self.pace, fullness)
        return 0.0 if at <= now else max(full, now + self.pace.quiet)

    def _shelf(self, group: str, *, soft: bool) -> _Shelf:
        return self._shelves.setdefault((group, soft), _Shelf())
