"""The last minute of one worker, from samples of its counters: rates, and latencies that are not those of last week."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from invalidator.slots import PURGE_BOUNDS
from invalidator.status import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.slots import Snapshot

SECONDS = 60
_RATE_SECONDS = 5
"""A rate is a mean of so many seconds: one of a single second jumps about too much to be read."""
_BUCKETS = (*PURGE_BOUNDS, float("inf"))
_BUCKETS_OF: dict[str, Callable[[dict[str, int]], tuple[int, ...]]] = {
    name: itemgetter(*(f"{name}:{bound:g}" for bound in _BUCKETS)) for name in ("purge", "propagation")
}


class _Backend(NamedTuple):
    purged: int
    histograms: dict[str, tuple[int, ...]]


class _Sample(NamedTuple):
    at: float
    received: int
    backends: dict[str, _Backend]


class History:
    """Samples a second apart. Pure: takes `now`, in monotonic seconds, and the words as they are then."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=SECONDS + 1)

    def next_due(self, now: float) -> float:
        """Seconds until the next sample is to be taken."""
        return max(0.0, self._samples[-1].at + 1.0 - now) if self._samples else 0.0

    def add(self, now: float, words: Snapshot) -> None:
        """Take a sample, if it is time."""
        if self.next_due(now) <= 0:
            backends = {name: _Backend(_done(lane), _histograms(lane)) for name, lane in words.backends.items()}
            self._samples.append(_Sample(now, words.worker["received"], backends))

    def repeat(self, now: float) -> None:
        """The same, when nothing has changed since the last sample."""
        if self.next_due(now) <= 0:
            self._samples.append(self._samples[-1]._replace(at=now))

    def rates(self) -> tuple[float, ...]:
        """Messages a second, for each of the last seconds; the oldest first."""
        samples = list(self._samples)
        pairs = pairwise(samples)
        return tuple(round((b.received - a.received) / (b.at - a.at), 2) for a, b in pairs)

    def rate(self) -> float:
        """Messages a second, over the last few seconds."""
        first, last = self._ends(_RATE_SECONDS)
        return _per_second(last.received - first.received, last.at - first.at) if first and last else 0.0

    def purge_rate(self, backend: str) -> float:
        """Targets a second that this backend has purged, over the last few seconds."""
        first, last = self._ends(_RATE_SECONDS)
        if not first or not last or backend not in first.backends or backend not in last.backends:
            return 0.0
        return _per_second(last.backends[backend].purged - first.backends[backend].purged, last.at - first.at)

    def latency(self, backend: str, histogram: str, now_words: Snapshot) -> Latency:
        """Percentiles of the last minute's `purge` or `propagation`, up to this moment."""
        first = self._samples[0] if self._samples else None
        if backend not in now_words.backends:
            return Latency()
        counts = _BUCKETS_OF[histogram](now_words.backends[backend])
        if first and backend in first.backends:
            before = first.backends[backend].histograms[histogram]
            counts = tuple(after - earlier for after, earlier in zip(counts, before, strict=True))
        return Latency(p50=quantile(counts, 0.5), p99=quantile(counts, 0.99))

    def _ends(self, seconds: int) -> tuple[_Sample | None, _Sample | None]:
        if len(self._samples) < 2:
            return None, None
        return self._samples[max(0, len(self._samples) - 1 - seconds)], self._samples[-1]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The value below which this share lies, between the bounds of its bucket; None when there is none.

    What lies beyond the last bound is said to be that bound: more is not known.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            lower = _BUCKETS[index - 1] if index else 0.0
            upper = _BUCKETS[index]
            # The sum of the rounded parts may pass the bound by a hair, and would then be of the next bucket.
            return lower if upper == float("inf") else min(upper, lower + (upper - lower) * (rank - below) / count)
        below += count
    return PURGE_BOUNDS[-1]


def _histograms(words: dict[str, int]) -> dict[str, tuple[int, ...]]:
    return {name: buckets(words) for name, buckets in _BUCKETS_OF.items()}


def _done(words: dict[str, int]) -> int:
    return words["purged"] + words["flushed"]


def _per_second(count: int, seconds: float) -> float:
    return round(max(0, count) / seconds, 2) if seconds > 0 else 0.0
