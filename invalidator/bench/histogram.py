"""Where the samples lie, drawn in ASCII: a row for each bucket, a column of bars for each lane. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.bench import figures
from invalidator.screen.paint import Piece, line
from invalidator.screen.text import left, right

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.bench.results import Samples
    from invalidator.screen.paint import Line

_LABEL = 9
_COUNT = 6
_NARROWEST = 16
"""Columns of a lane, its count included: of more lanes than there is room for, the others come below."""


def drawn(lanes: Sequence[Samples], columns: int) -> Iterator[Line]:
    """Of one rate. Bars are within a lane: its longest one is as long as there is room."""
    upper = figures.bounds(value for lane in lanes for value in lane.seconds)
    abreast = max(1, (columns - _LABEL) // (_NARROWEST + 2))
    for some in _parts(lanes, abreast):
        room = min(40, (columns - _LABEL) // len(some) - 2)
        yield line(" " * _LABEL, *(Piece("  " + left(lane.backend, room), "bold") for lane in some))
        found = [figures.counts(lane.seconds, upper) for lane in some]
        for row, bound in enumerate(upper):
            cells = ["  " + _bar(counts[row], max(1, *counts), room) for counts in found]
            yield line(Piece(right(f"< {bucket(bound)}", _LABEL), "dim"), *cells)


def bucket(bound: float) -> str:
    """`200 us`, `5 ms`, `1 s`: a bound is 1, 2 or 5 of something."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if bound >= size * 0.999:
            return f"{bound / size:.0f} {unit}"
    return "1 us"


def _bar(count: int, most: int, room: int) -> str:
    length = room - _COUNT - 1
    filled = -(-count * length // most)  # rounded up: what is there is seen
    return left("#" * filled + (f" {count}" if count else ""), room)


def _parts(lanes: Sequence[Samples], most: int) -> Iterator[Sequence[Samples]]:
    return (lanes[start : start + most] for start in range(0, len(lanes), most))
