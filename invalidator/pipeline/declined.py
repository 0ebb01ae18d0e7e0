"""Messages that are not acted on: heard, and read from the journal, each of them is told of once. Pure."""

from __future__ import annotations

import re

MOST_WAITING = 10_000
"""Messages that have come on one way and not on the other."""
_LOOKED_AT = 64 << 10
"""Bytes of a payload in which its place in the journal is looked for."""
_PLACE = re.compile(rb'"journal"\s*:\s*"([0-9]{1,20}-[0-9]{1,20})"')


class Declined:
    """By their places in the journal. Who says a false one makes a count wrong, and nothing else."""

    def __init__(self) -> None:
        self._heard: dict[str, None] = {}
        self._read: dict[str, None] = {}

    def heard(self, at: str) -> bool:
        """Whether one that was heard is new: was not read before. One that says no place is."""
        return not at or _meets(at, self._read, self._heard)

    def read(self, at: str) -> bool:
        """Whether one that was read is new: was not heard before."""
        return _meets(at, self._heard, self._read)


def place_in(payload: bytes) -> str:
    """Where a payload that nobody can decode says that it stands in the journal; empty if it does not."""
    found = _PLACE.search(payload[:_LOOKED_AT])
    return found[1].decode() if found else ""


def _meets(at: str, there: dict[str, None], here: dict[str, None]) -> bool:
    if at in there:
        del there[at]
        return False
    here[at] = None
    if len(here) > MOST_WAITING:
        del here[next(iter(here))]
    return True
