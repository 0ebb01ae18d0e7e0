"""How long a call that is not full waits for more. Pure: decided from what waits, since when, and how fast it grows.

A call costs the same with one target in it as with a hundred, and a vendor's plan counts calls. So one waits until it
is full, or until waiting would gain nothing: nothing came for a moment, or it would not be full in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `quiet`: nothing was added for so long. `longest`: the oldest has waited so long.

    What grows so steadily that it would be full within `steady` is waited for, and then a pause is one only after
    `longest`. Once the bucket has been drawn on (less than `comfort` of it is left), calls are dearer: `scarce` takes
    the place of `steady`.
    """

    quiet: float = 0.02
    longest: float = 0.25
    steady: float = 1.0
    scarce: float = 4.0
    comfort: float = 0.9


AT_ONCE = Pace(quiet=0.0, longest=0.0, steady=0.0, scarce=0.0)
"""No gathering."""


class Rest(NamedTuple):
    """A call that is not full: `filled` values of at most `size`, the oldest from `since`, the newest from `grown`."""

    filled: int
    size: int
    since: float
    grown: float


class Due(NamedTuple):
    """`at`: the monotonic second from which the call goes, full or not. `full`: when it may be full, not after `at`."""

    at: float
    full: float


def due(rest: Rest, pace: Pace, fullness: float) -> Due:
    """When this call goes. `fullness`: the share of the vendor's bucket that is left, 0 to 1."""
    patience = pace.steady if fullness >= pace.comfort else pace.scarce
    age = rest.grown - rest.since
    full = rest.since + age * rest.size / max(1, rest.filled) if age > 0 else rest.grown
    if age > 0 and full <= rest.since + patience:
        at = min(rest.grown + pace.longest, rest.since + patience)
    else:
        at = min(rest.grown + pace.quiet, rest.since + pace.longest)
    return Due(at, min(at, max(full, rest.grown + pace.quiet)))
