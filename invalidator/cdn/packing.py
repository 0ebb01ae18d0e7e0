"""What is to be purged, packed into as few calls as a vendor's batch size allows. Pure.

A target may be several things to a vendor (two URL templates, say). Those stay together: a target is either asked for
as a whole or comes again as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from invalidator.messages import Target  # noqa: TC001 - part of a NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Unit(NamedTuple):
    """One target: what it is called at the vendor, and the monotonic second since which it waits here.

    `suspect`: not 0 for those of a call that was refused because of one of them. They are asked for among themselves.
    """

    target: Target
    values: tuple[str, ...]
    since: float
    suspect: int = 0


class Parcel(NamedTuple):
    """What is sent whole or not at all: one call, or the several that a target of many values needs.

    `full`: nothing more would fit, so that waiting gains nothing.
    """

    group: str
    units: tuple[Unit, ...]
    full: bool

    @property
    def amount(self) -> int:
        """How many values that is."""
        return sum(len(unit.values) for unit in self.units)

    @property
    def since(self) -> float:
        """How long the oldest of it waits."""
        return min(unit.since for unit in self.units)

    def calls(self, size: int) -> list[tuple[str, ...]]:
        """The values of each call. What two targets are both called is named once."""
        values = list(dict.fromkeys(value for unit in self.units for value in unit.values))
        return [tuple(values[start : start + size]) for start in range(0, len(values), size)]


def pack(group: str, units: Iterable[Unit], size: int) -> list[Parcel]:
    """Parcels of calls of at most `size` values: the oldest first, and at most one, the last, that is not full."""
    ordered = sorted(units, key=lambda unit: (not unit.suspect, unit.suspect, unit.since))
    parcels: list[Parcel] = []
    together: list[Unit] = []
    room = size
    for unit in ordered:
        if together and (unit.suspect != together[0].suspect or room < len(unit.values)):
            parcels.append(Parcel(group, tuple(together), full=True))
            together, room = [], size
        together.append(unit)
        room -= len(unit.values)
    if together:
        last = together[-1]
        parcels.append(Parcel(group, tuple(together), full=bool(last.suspect) or room < len(last.values)))
    return parcels


def halves(units: tuple[Unit, ...], names: Iterator[int]) -> tuple[Unit, ...]:
    """The targets of a refused call as suspects in two halves, each half to be asked for by itself."""
    middle = len(units) // 2
    return tuple(
        unit._replace(suspect=name)
        for name, half in zip(names, (units[:middle], units[middle:]), strict=False)
        for unit in half
    )
