"""Medians with their spread, ratios round by round, and how a number is written. Pure."""

from __future__ import annotations

from math import floor, log10
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(NamedTuple):
    """Of several rounds: the middle one, the least and the most."""

    median: float
    least: float
    most: float

    def said(self, unit: str = "") -> str:
        """As `0.52x (0.49 to 0.55)`."""
        between = f" ({number(self.least)} to {number(self.most)})" if self.least != self.most else ""
        return f"{number(self.median)}{unit}{between}"


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError when there are none."""
    return Spread(median(values), min(values), max(values))


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Each round's own: what the machine did meanwhile, it did to both."""
    return spread([one / other for one, other in zip(of, to, strict=True)])


def number(value: float, digits: int = 2) -> str:
    """In so many digits, and with a word for many zeros: `1.2 M`, `45 k`, `0.52`."""
    for size, word in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return _digits(value / size, digits) + word
    return _digits(value, digits)


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for size, word in ((1.0, " s"), (1e-3, " ms"), (1e-6, " µs")):
        if value >= size * 0.9995:
            return _digits(value / size, 2) + word
    return f"{value * 1e9:.0f} ns"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies. Raises ValueError when there are none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _digits(value: float, digits: int) -> str:
    rounded = float(f"{value:.{digits}g}")
    places = digits - 1 - floor(log10(abs(rounded))) if rounded else 0
    return f"{value:.{max(0, places)}f}"
