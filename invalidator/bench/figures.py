"""Percentiles and buckets of what was measured. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_STEPS = (1.0, 2.0, 5.0)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that this share of the samples does not exceed: one that was measured, nothing in between.

    None where there are too few: of a hundred samples, none says anything about one in a thousand.
    """
    if not ordered or len(ordered) * (1 - share) < 1 - 1e-9:
        return None
    return ordered[math.ceil(share * len(ordered) - 1e-9) - 1]


def summary(samples: Iterable[float]) -> dict[str, float | None]:
    """p50 to p99.9, and the longest, in seconds."""
    ordered = sorted(samples)
    found = {name: percentile(ordered, share) for name, share in SHARES.items()}
    return found | {"max": ordered[-1] if ordered else None}


def median(values: Iterable[float]) -> float | None:
    """The middle one; of an even number, the lower of both."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def bounds(samples: Iterable[float]) -> list[float]:
    """Upper bounds of buckets that hold all of these: 1, 2, 5, 10 and so on, from the first that any is in."""
    values = [max(value, 1e-6) for value in samples]
    if not values:
        return []
    first, last = _step(min(values)), _step(max(values))
    return [_bound(index) for index in range(first, last + 1)]


def counts(samples: Iterable[float], upper: Sequence[float]) -> list[int]:
    """How many of the samples are in each bucket."""
    found = [0] * len(upper)
    for value in samples:
        found[_step(max(value, 1e-6)) - _step(upper[0])] += 1
    return found


def _step(value: float) -> int:
    """The number of the lowest bound that is not below the value; that of a second is 0."""
    index = 3 * math.floor(math.log10(value)) - 1
    while _bound(index) < value:
        index += 1
    return index


def _bound(index: int) -> float:
    power, step = divmod(index, 3)
    return float(f"{_STEPS[step]:g}e{power}")
