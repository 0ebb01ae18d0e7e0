"""What was measured, and the verdict on it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invalidator.bench import figures
from invalidator.options import format_duration
from invalidator.reply import APPLIED
from invalidator.screen.text import count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.reply import Reply

_STEP = 0.001
"""Seconds by which the wall clock may differ from the steady one: more, and times of two processes mean nothing."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Of one lane, at one rate: seconds from where a message should have gone out to the lane's word for it.

    `asked` were to be answered. `ends` counts the answers that were not "it is gone", by what they were.
    """

    backend: str
    asked: int
    seconds: tuple[float, ...]
    ends: dict[str, int]

    @property
    def lost(self) -> int:
        """How many were never answered."""
        return self.asked - len(self.seconds) - sum(self.ends.values())


@dataclass(frozen=True, slots=True)
class Series:
    """One worker at one rate. `late` is how late the publisher itself was: p99, and at most; it is in the samples."""

    worker: str
    rate: float
    reached: float
    published: int
    heard: int
    late: tuple[float, float]
    stepped: float
    lanes: tuple[Samples, ...]

    @property
    def name(self) -> str:
        """Where, in the verdict."""
        return f"{self.worker} at {count(self.rate)}/s"


@dataclass(frozen=True, slots=True)
class Burst:
    """Distinct keys, as fast as they can be published. Of each lane: seconds from the first to the last one purged.

    None: it has not answered. `received` is what its counter says. `cpu`: seconds of a processor that the worker's
    process has used, which on a busy host says more than the time; None where nobody can say.
    """

    worker: str
    keys: int
    publishing: float
    lanes: dict[str, float | None]
    received: dict[str, int]
    cpu: float | None = None


@dataclass(slots=True)
class Results:
    """All of it. `gaps` has those that the daemon has counted meanwhile, by worker and cause."""

    series: list[Series] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    gaps: dict[str, dict[str, int]] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def samples(backend: str, asked: Sequence[int], said: dict[int, Reply], began: float, rate: float) -> Samples:
    """From receipts: a message's place in time is its number's, however late it went out."""
    good = {number: one for number, one in said.items() if one.outcome in APPLIED}
    seconds = tuple(max(0.0, one.at - (began + number / rate)) for number, one in sorted(good.items()))
    ends = Counter(f"{one.outcome} ({one.reason})" if one.reason else one.outcome for one in said.values())
    return Samples(backend, len(asked), seconds, {end: n for end, n in ends.items() if end not in APPLIED})


def objections(results: Results, limit: float | None, patience: float) -> list[str]:
    """A sentence for each thing for which the verdict is no. `limit`: what p99 may be."""
    found = [text for series in results.series for text in _of_series(series, limit, patience)]
    found += [text for burst in results.bursts for text in _of_burst(burst, patience)]
    for worker, causes in results.gaps.items():
        said = ", ".join(f"{cause} {number}" for cause, number in causes.items())
        found.append(
            f"{worker}: {plural(sum(causes.values()), 'gap')} meanwhile ({said}): messages may have been missed"
        )
    found += [f"{worker}: its process was replaced meanwhile" for worker in results.restarted]
    return list(dict.fromkeys(found))


def _of_series(series: Series, limit: float | None, patience: float) -> Iterator[str]:
    if series.heard < series.published:
        yield f"{series.name}: {series.published - series.heard:,} of {series.published:,} messages were never heard"
    if series.stepped > _STEP:
        yield f"{series.name}: the host's clock was set meanwhile, by {series.stepped * 1000:.0f} ms: measure again"
    for lane in series.lanes:
        where = f"{series.worker} → {lane.backend} at {count(series.rate)}/s"
        if lane.lost:
            yield f"{where}: {lane.lost:,} of {plural(lane.asked, 'sample')} not answered within {patience:g} s"
        for end, number in lane.ends.items():
            yield f"{where}: {plural(number, 'sample')} ended as {end}"
        if limit is None:
            continue
        p99 = figures.summary(lane.seconds)["p99"]
        if p99 is None:
            yield f"{where}: {plural(len(lane.seconds), 'sample')} say nothing of a p99: it takes 100"
        elif p99 > limit:
            yield (
                f"{where}: p99 is {p99 * 1000:.3g} ms, {(p99 - limit) * 1000:.3g} ms more than {format_duration(limit)}"
            )


def _of_burst(burst: Burst, patience: float) -> Iterator[str]:
    for backend, seconds in burst.lanes.items():
        where = f"{burst.worker} → {backend}, a burst"
        if burst.received[backend] < burst.keys:
            yield f"{where}: received {burst.received[backend]:,} of {plural(burst.keys, 'key')}"
        elif seconds is None:
            yield f"{where}: the last of {plural(burst.keys, 'key')} was not purged within {patience:g} s"
