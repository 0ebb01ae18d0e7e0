"""What a worker tells its supervisor: words of 64 bits in memory that both of them map.

One region for each incarnation of a worker, made by the supervisor before it forks. Only the worker writes, only the
supervisor reads, and nobody waits: a worker that is killed in the middle of a write leaves numbers, never a lock. The
layout is the order of the names below, so both sides are one program; nothing of it outlives the processes.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, get_args

from invalidator.messages import (
    FAILURE_REASONS,
    FLUSH_CAUSES,
    GAP_CAUSES,
    IGNORE_REASONS,
    JOURNAL_BREAKS,
    REJECT_REASONS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

End = Literal["coalesced", "purged", "flushed", "dead", "skipped", "lost"]
ENDS: tuple[End, ...] = get_args(End)

STARTING, READY, STOPPING = 0, 1, 2

PURGE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of both histograms, seconds."""
_ALL_BOUNDS = (*PURGE_BOUNDS, float("inf"))


def _histogram(name: str) -> tuple[str, ...]:
    return (*(f"{name}:{bound:g}" for bound in _ALL_BOUNDS), f"{name}:sum_ns")


WORKER_WORDS: tuple[str, ...] = (
    "beat_ns",
    "state",
    "subscribed_until_ns",
    "received",
    "missed",
    "unjournaled",
    "gap_ns",
    "last_message_ns",
    "server",
    "flushes_after",
    *(f"rejected:{reason}" for reason in REJECT_REASONS),
    *(f"ignored:{reason}" for reason in IGNORE_REASONS),
    *(f"journal_break:{reason}" for reason in JOURNAL_BREAKS),
    *(f"gap:{cause}" for cause in GAP_CAUSES),
    *(f"reconnect:{cause}" for cause in GAP_CAUSES),
)
BACKEND_WORDS: tuple[str, ...] = (
    "version",
    "received",
    *ENDS,
    "pending",
    "pending_unjournaled",
    "last_purge_ns",
    *(f"failed:{reason}" for reason in FAILURE_REASONS),
    *(f"flush:{cause}" for cause in FLUSH_CAUSES),
    *_histogram("purge"),
    *_histogram("propagation"),
)
LATEST = frozenset({"last_message_ns", "last_purge_ns"})
"""Wall nanoseconds at which something last happened: a successor goes on from there."""
GAUGES = frozenset({
    "beat_ns", "state", "subscribed_until_ns", "server", "flushes_after", "version", "pending", "pending_unjournaled",
})  # fmt: skip
"""`pending_unjournaled` is how many of the pending at most stand in no journal, in a worker that reads one."""

_WORKER_AT = {name: index for index, name in enumerate(WORKER_WORDS)}
_BACKEND_AT = {name: index for index, name in enumerate(BACKEND_WORDS)}
_LAST_PURGE = _BACKEND_AT["last_purge_ns"]
_FIRST_BUCKET = {name: _BACKEND_AT[f"{name}:{PURGE_BOUNDS[0]:g}"] for name in ("purge", "propagation")}
_BACKEND_FORMAT = f"={len(BACKEND_WORDS)}Q"
_PATIENCE = 0.05
"""Seconds to wait for a writer in the middle of a write: it may have lost its processor, or be stopped, or dead."""
_MANY = 8
"""Durations from which on it costs less to look for each bound than for each of them."""
_LONGEST_OBSERVED = 3600.0
"""Seconds. A time that is longer counts as this: it lies beyond the last bucket, and says nothing about us."""
_WORD_MASK = (1 << 64) - 1

Words = dict[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A region's words by name, at one moment."""

    worker: Words
    backends: dict[str, Words]


class Region:
    """The shared memory of one incarnation of one worker: its own words, then those of each of its backends."""

    def __init__(self, backends: Sequence[str]) -> None:
        self._names = tuple(backends)
        self._memory = mmap.mmap(-1, 8 * (len(WORKER_WORDS) + len(BACKEND_WORDS) * len(self._names)))
        self._words = memoryview(self._memory).cast("Q")

    def worker(self) -> WorkerSlots:
        """The part that the worker's loop writes."""
        return WorkerSlots(self._words[: len(WORKER_WORDS)])

    def backend(self, name: str) -> BackendSlots:
        """The part that the lanes of one backend write. To be called once for each: it carries their lock."""
        return BackendSlots(self._backend_words(name))

    def word(self, name: str) -> int:
        """One word of the worker's own part."""
        return self._words[_WORKER_AT[name]]

    def snapshot(self) -> Snapshot:
        """Everything. The words of one backend belong together, unless their writer died while it wrote."""
        worker = dict(zip(WORKER_WORDS, self._words[: len(WORKER_WORDS)].tolist(), strict=True))
        return Snapshot(worker, {name: self._read(self._backend_words(name)) for name in self._names})

    def changes(self) -> int:
        """Another number whenever messages were received, or anything was counted of a backend, since the last one."""
        # Each part only grows, so that a sum that is the same has parts that are.
        firsts = range(len(WORKER_WORDS), len(self._words), len(BACKEND_WORDS))
        return self.word("received") + sum(self._words[first] for first in firsts)

    def close(self) -> None:
        """Give the memory back. Nothing that came from this region may be used afterwards."""
        self._words.release()
        self._memory.close()

    def _backend_words(self, name: str) -> memoryview[int]:
        start = len(WORKER_WORDS) + len(BACKEND_WORDS) * self._names.index(name)
        return self._words[start : start + len(BACKEND_WORDS)]

    @staticmethod
    def _read(words: memoryview[int]) -> Words:
        # A version that is odd, or not the same afterwards: a write was under way, and the counts would not add up.
        give_up = clock() + _PATIENCE
        while True:
            before = words[0]
            copy = words.tobytes()  # one memcpy: the shorter it takes, the seldomer a write falls into it
            if (before % 2 == 0 and words[0] == before) or clock() > give_up:
                break
            os.sched_yield()  # the writer may have been interrupted in the middle, on this very processor
        return dict(zip(BACKEND_WORDS, struct.unpack(_BACKEND_FORMAT, copy), strict=True))


class WorkerSlots:
    """What a worker's loop counts. Written from that loop alone, so a plain `+=` is enough."""

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words

    def beat(self, now: float) -> None:
        """The loop is alive at this monotonic second."""
        self._words[0] = int(now * 1e9)

    def state(self, state: int) -> None:
        """STARTING, READY or STOPPING."""
        self._words[1] = state

    def subscribed_until(self, until: float) -> None:
        """The subscription is known to be alive until this monotonic second; 0.0: it is not."""
        self._words[2] = int(until * 1e9)

    def server(self, run_id: str) -> None:
        """The subscription is with the server that started under this id; empty: that is not known."""
        self._words[_WORKER_AT["server"]] = _server_word(run_id)

    def flushes_after(self, known: bool) -> None:
        """Whether a process after this one, if it is killed now, flushes what stands in no journal."""
        self._words[_WORKER_AT["flushes_after"]] = int(known)

    def last_message(self, at: float) -> None:
        """The last message came at this wall second."""
        self._words[_WORKER_AT["last_message_ns"]] = int(at * 1e9)

    def add(self, name: str, count: int = 1) -> None:
        """Count something by its name in WORKER_WORDS."""
        self._words[_WORKER_AT[name]] += count


class BackendSlots:
    """What the lanes of one backend count. Several threads write, so each change is made under their lock."""

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words
        self._lock = threading.Lock()

    def add(
        self,
        changes: Mapping[str, int],
        purge: float | None = None,
        propagation: Iterable[float] = (),
        last_purge: float = 0.0,
    ) -> None:
        """Add to words by name (less than 0 too), and observe durations in seconds; readers see all of it or none.

        `last_purge` is the wall second of one that has just been done; 0.0: none was.
        """
        words = self._words
        with self._lock:
            words[0] += 1
            for name, count in changes.items():
                words[_BACKEND_AT[name]] += count
            words[_LAST_PURGE] = max(words[_LAST_PURGE], int(last_purge * 1e9))
            if purge is not None:
                self._observe("purge", [purge])
            if propagation:
                self._observe("propagation", propagation)
            words[0] += 1

    def _observe(self, histogram: Literal["purge", "propagation"], durations: Iterable[float]) -> None:
        ordered = _bounded(sorted(durations))
        words, first, before = self._words, _FIRST_BUCKET[histogram], 0
        if len(ordered) < _MANY:
            for duration in ordered:
                words[first + bisect_left(_ALL_BOUNDS, duration)] += 1
        else:
            for place, bound in enumerate(_ALL_BOUNDS):
                upto = bisect_right(ordered, bound)
                words[first + place] += upto - before
                before = upto
        at = first + len(_ALL_BOUNDS)
        words[at] = (words[at] + int(sum(ordered) * 1e9)) & _WORD_MASK


def _bounded(ordered: list[float]) -> list[float]:
    """The same, sorted yet: each at least 0, and none too long.

    A publisher's clock may run ahead, or say anything at all: it must not overflow a word, which would raise.
    """
    total = sum(ordered)
    if total != total:  # one is no number, or two are infinite: these were not sorted  # noqa: PLR0124
        return sorted(min(max(0.0, duration), _LONGEST_OBSERVED) for duration in ordered)
    early, late = bisect_left(ordered, 0.0), bisect_right(ordered, _LONGEST_OBSERVED)
    return [0.0] * early + ordered[early:late] + [_LONGEST_OBSERVED] * (len(ordered) - late)


@lru_cache(maxsize=8)
def _server_word(run_id: str) -> int:
    return int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big") | 1 if run_id else 0


def alive_for(region: Region, now: float) -> float:
    """Seconds since the worker's loop last said that it is alive; infinite before it first did."""
    beat = region.word("beat_ns")
    return now - beat / 1e9 if beat else float("inf")


def is_subscribed(region: Region, now: float) -> bool:
    """Whether the subscription is known to be alive now: a worker that has stopped says so by saying nothing."""
    return now < region.word("subscribed_until_ns") / 1e9


def clock() -> float:
    """Monotonic seconds: the one clock of every decision."""
    return time.monotonic()
