"""Ways to say what is aimed at, and to see in the samples of a run whether it was reached. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Protocol

from benchmarks.quantities import number, ratios, seconds, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES = {
    "limit": "C recv()",
    "bare": "a bare hiredis loop",
    "ping-each": "a loop with a PING each",
    "redis-py": "redis-py get_message",
    "redis.asyncio": "redis.asyncio",
    "faststream": "FastStream",
    "node-redis": "node-redis",
    "ioredis": "ioredis",
    "one-by-one": "UNLINK one by one",
    "lru_cache": "functools.lru_cache",
    "aiohttp": "aiohttp's best",
    "get": "a GET over loopback",
    "click": "`python -c 'import click'`",
    "ours": "invalidator",
}


class Judged(NamedTuple):
    """What was found, in words, and whether it is what was aimed at; None: it was not measured."""

    text: str
    reached: bool | None


class Aim(Protocol):
    """One thing that a row aims at."""

    @property
    def words(self) -> str:
        """As the table says it."""

    def judge(self, samples: Mapping[str, Sequence[float]]) -> Judged:
        """By what was measured, round by round."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contender's figure over another's in the same round; the median of these counts."""

    to: str
    bound: float
    most: bool = False
    of: str = "ours"
    named: str = ""
    called: str = ""

    @property
    def words(self) -> str:
        """With what it is compared to."""
        name = self.named or NAMES.get(self.to, self.to)
        return f"{self.called}{'≤' if self.most else '≥'} {self.bound:g}x {name}"

    def judge(self, samples: Mapping[str, Sequence[float]]) -> Judged:
        """Reached if the median is."""
        if not samples.get(self.of) or not samples.get(self.to):
            return Judged("not measured", None)
        found = ratios(samples[self.of], samples[self.to])
        return Judged(found.said("x"), found.median <= self.bound if self.most else found.median >= self.bound)


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure that is compared to nothing. In seconds, if that is its `unit`."""

    of: str
    bound: float
    unit: str
    most: bool = True
    called: str = ""

    @property
    def words(self) -> str:
        """With its unit."""
        return f"{self.called}{'≤' if self.most else '≥'} {self._said(self.bound)}"

    def judge(self, samples: Mapping[str, Sequence[float]]) -> Judged:
        """Reached if the median is."""
        if not (values := samples.get(self.of)):
            return Judged("not measured", None)
        middle = median(values)
        least, _, most = (self._said(value) for value in (min(values), middle, max(values)))
        reached = middle <= self.bound if self.most else middle >= self.bound
        return Judged(self._said(middle) + (f" ({least} to {most})" if least != most else ""), reached)

    def _said(self, value: float) -> str:
        return seconds(value) if self.unit == "s" else f"{number(value)}{self.unit}"


@dataclass(frozen=True, slots=True)
class Always:
    """Something that has to be so in each round: its samples are 1 or 0."""

    of: str
    called: str

    @property
    def words(self) -> str:
        """What has to be so."""
        return self.called

    def judge(self, samples: Mapping[str, Sequence[float]]) -> Judged:
        """In how many rounds it was."""
        if not (values := samples.get(self.of)):
            return Judged("not measured", None)
        return Judged(f"{sum(values):.0f} of {len(values)}", all(values))


def shown(samples: Mapping[str, Sequence[float]], name: str, unit: str) -> str:
    """A contender's own figure, which holds for this machine and this hour alone."""
    if not samples.get(name):
        return ""
    middle = spread(samples[name]).median
    return seconds(middle) if unit == "s" else f"{number(middle)} {unit}".strip()
