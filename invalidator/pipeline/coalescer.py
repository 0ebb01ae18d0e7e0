"""Coalesced: what a lane still has to purge, as a bounded set of distinct targets. Pure: takes `now`, does no I/O.

It decides what goes into the next Batch, and what an answer means for each of its targets. Its counts always add up:
the targets received are the sum of their ends and of what is pending.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from invalidator.messages import KINDS, Batch, Kind
from invalidator.pipeline.pace import ATTEMPT_SECONDS, FIRST_BATCH, FLUSH_SECONDS, Retry, next_batch_size
from invalidator.pipeline.wishes import Stamps, Wishes, covers
from invalidator.slots import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator.messages import FailureReason, FlushCause, PurgeResult, Target
    from invalidator.slots import End

LANE_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Policy:
    """For whom a lane works, and what its operator wants of it.

    `kinds` are those that the backend can purge; others are skipped, or with `widen` become the flush. `flush` is what
    that means, `on_gap` whether a Gap asks for it. `window` is how long to gather (seconds), `limit` how many targets.
    """

    worker: str
    backend: str
    kinds: frozenset[Kind] = frozenset(KINDS)
    flush: tuple[Target, ...] = ()
    on_gap: bool = False
    widen: bool = False
    window: float = 0.0
    limit: int = LANE_LIMIT


@dataclass(slots=True)
class Flush:
    """A flush that was asked for: why, from when on it is due, and how many targets it stands for."""

    cause: FlushCause
    due: float
    covered: int = 0


@dataclass(slots=True)
class Pending:
    """One lane's work: wishes that are fresh, those to be tried again, at most one flush, and one batch in flight."""

    policy: Policy
    chance: Callable[[], float]
    received: int = 0
    ends: dict[End, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    batch_size: int = FIRST_BATCH
    _fresh: Wishes = field(default_factory=Wishes)
    _again: Wishes = field(default_factory=Wishes)
    _flight: Stamps = field(default_factory=dict)
    _flush: Flush | None = None
    _flush_in_flight: Flush | None = None
    _flushed_last: bool = False
    _swept: bool = False
    _gathered: float = 0.0
    _whole: Retry = field(init=False)
    _part: Retry = field(init=False)

    def __post_init__(self) -> None:
        self._whole = Retry(self.chance)  # the backend failed: nobody is asked for anything
        self._part = Retry(self.chance)  # some targets failed: only they wait

    def __len__(self) -> int:
        """How many targets are pending: waiting, in flight, or covered by a flush that is not done yet."""
        covered = sum(flush.covered for flush in (self._flush, self._flush_in_flight) if flush)
        return len(self._fresh) + len(self._again) + len(self._flight) + covered

    def add(self, targets: Iterable[Target], *, soft: bool, ts: float | None, now: float) -> list[Target]:
        """Take targets in. Returns those for which there is no room, and no flush to stand for them: end them."""
        if not self._fresh:
            self._gathered = now + self.policy.window
        homeless = []
        for target in targets:
            self.received += 1
            if self._fresh.has(target, soft=soft) or self._again.has(target, soft=soft):
                self.ends["coalesced"] += 1
            elif target in self._fresh.soft or self._has_room():
                self.ends["coalesced"] += self._fresh.put(target, ts, soft=soft)
            elif self._collapse(target, now):
                if self._has_room():
                    self._fresh.put(target, ts, soft=soft)
                else:
                    self.flush("overflow", now).covered += 1
            else:
                homeless.append(target)
        return homeless

    def end(self, end: End, count: int) -> None:
        """Targets that `add` had no room for have come to this end."""
        self.ends[end] += count

    def skip(self, count: int) -> None:
        """Targets of a kind that the backend lacks came, and ended at once."""
        self.received += count
        self.ends["skipped"] += count

    def widen(self, count: int, now: float) -> None:
        """Targets of a kind that the backend lacks came, for which its operator wants the flush."""
        self.received += count
        self.flush("unsupported", now).covered += count

    def flush(self, cause: FlushCause, due: float) -> Flush:
        """Ask for a flush from `due` on. Those asked for before it is done are one, as early as the earliest."""
        if self._flush is None:
            self._flush = Flush(cause, due)
        self._flush.due = min(self._flush.due, due)
        return self._flush

    def is_flushing(self) -> bool:
        """Whether a flush was asked for and is not done."""
        return bool(self._flush or self._flush_in_flight)

    def is_overdue(self) -> bool:
        """Whether something was to be done by now and is not: a flush, or what has failed and is to be tried again."""
        return self.is_flushing() or bool(self._again) or self._whole.attempts > 0

    @property
    def failures(self) -> int:
        """Attempts that failed as a whole since the last that did not."""
        return self._whole.attempts

    def next_due(self, now: float) -> float:
        """Seconds until `take` has something to give; infinite if nothing waits."""
        times = [self._flush.due] if self._flush else []
        if self._fresh:
            times.append(now if len(self._fresh) >= self.batch_size else self._gathered)
        if self._again:
            times.append(self._part.due)
        return max(0.0, max(min(times), self._whole.due) - now) if times else float("inf")

    def take(self, now: float) -> Batch | None:
        """The next batch, which is then in flight until it is settled; None if nothing is due."""
        if self._flight or self._flush_in_flight or now < self._whole.due:
            return None
        if self._flush and now >= self._flush.due and not (self._flushed_last and self._fresh):
            return self._take_flush(self._flush, now)
        self._flushed_last = self._swept = False
        if self._again and now >= self._part.due:
            self._wish_again()
        if self._fresh and (now >= self._gathered or len(self._fresh) >= self.batch_size):
            self._flight, soft = self._fresh.take(self.batch_size)
            return self._batch(self._flight, now, soft=soft)
        return None

    def settle(self, batch: Batch, result: PurgeResult, now: float, *, unkept: int = 0) -> list[float]:
        """What the answer to the batch in flight means. Returns the publishers' times of the targets purged by it.

        Of the targets that are not to be tried again, `unkept` could not be dead-lettered: they are lost.
        """
        if self._flush_in_flight:
            self._settle_flush(self._flush_in_flight, result, now)
            return []
        seconds = now - (batch.deadline - ATTEMPT_SECONDS)
        self.batch_size = next_batch_size(self.batch_size, len(self._flight), seconds)
        flight, self._flight = self._flight, {}
        self._settle_pace(len(flight), result, now)
        for failure in result.failures:
            if failure.target not in flight:
                continue
            ts = flight.pop(failure.target)
            if not failure.retry:
                self.ends["dead"] += 1
            elif self._fresh.has(failure.target, soft=batch.soft):
                self.ends["coalesced"] += 1
            else:
                self.ends["coalesced"] += self._again.put(failure.target, ts, soft=batch.soft)
        self.ends["dead"] -= unkept
        self.ends["lost"] += unkept
        self.ends["purged"] += len(flight)
        return [ts for ts in flight.values() if ts is not None]

    def poison(self, result: PurgeResult) -> dict[Target, FailureReason]:
        """The targets in flight that will never be taken, each with its reason. To be asked before `settle`."""
        failures = [failure for failure in result.failures if failure.target in self._flight and not failure.retry]
        return {failure.target: failure.reason for failure in failures}

    def hurry(self) -> None:
        """The worker stops: whatever waits for its time is due now."""
        self._gathered = self._whole.due = self._part.due = 0.0
        if self._flush:
            self._flush.due = 0.0

    def leftover(self) -> list[Target]:
        """The targets that are pending one by one. Those behind a flush are not among them: it stands for them."""
        return [*self._fresh, *self._again, *self._flight]

    def abandon(self) -> list[Target]:
        """The worker ends, and nobody will purge these any more. Their end is for the caller to say."""
        targets = self.leftover()
        self._fresh.clear()
        self._again.clear()
        self._flight.clear()
        return targets

    def _collapse(self, target: Target, now: float) -> bool:
        """Have the flush stand for what it covers. Whether that makes room for `target`, or covers it as well."""
        if not self.policy.on_gap:
            return False
        if not self._swept:
            freed = self._drop_covered()
            # Going through a full lane for nothing at each target would cost more than all the rest.
            self._swept = freed < self.policy.limit // 10
            if freed:
                self.flush("overflow", now).covered += freed
        return self._has_room() or self._is_covered(target)

    def _has_room(self) -> bool:
        # What is in flight counts too: it may all come back.
        return len(self._fresh) + len(self._again) + len(self._flight) < self.policy.limit

    def _take_flush(self, flush: Flush, now: float) -> Batch:
        # Only now does the flush take the place of what waits: until it was due, each target went its own way.
        flush.covered += self._drop_covered()
        self._flush, self._flush_in_flight = None, flush
        self._flushed_last = True  # flushes and targets take turns, or a stream of one would keep the other waiting
        return self._batch(dict.fromkeys(self.policy.flush), now, soft=False, cause=flush.cause)

    def _drop_covered(self) -> int:
        return self._fresh.drop(self._is_covered) + self._again.drop(self._is_covered)

    def _is_covered(self, target: Target) -> bool:
        return any(covers(wider, target) for wider in self.policy.flush)

    def _settle_flush(self, flush: Flush, result: PurgeResult, now: float) -> None:
        self._flush_in_flight = None
        if result.failures:
            self._whole.failed(now, result.retry_after)
            self.flush(flush.cause, flush.due).covered += flush.covered
        else:
            self._whole.succeeded()
            self.ends["flushed"] += flush.covered

    def _settle_pace(self, asked: int, result: PurgeResult, now: float) -> None:
        again = sum(failure.retry for failure in result.failures)
        if again and again >= asked:
            self._whole.failed(now, result.retry_after)
        else:
            self._whole.succeeded()
        if not again:
            self._part.succeeded()
        elif again < asked:
            self._part.failed(now, result.retry_after)

    def _wish_again(self) -> None:
        for wishes, soft in ((self._again.hard, False), (self._again.soft, True)):
            for target, ts in wishes.items():
                if not self._fresh.has(target, soft=soft):
                    self.ends["coalesced"] += self._fresh.put(target, ts, soft=soft)
                else:
                    self.ends["coalesced"] += 1
        self._again.clear()

    def _batch(
        self, targets: Iterable[Target], now: float, *, soft: bool, cause: FlushCause | Literal[""] = ""
    ) -> Batch:
        kinds: dict[str, list[str]] = {"key": [], "tag": [], "prefix": [], "pattern": [], "url": [], "all": []}
        for kind, value in targets:
            kinds[kind].append(value)
        return Batch(
            worker=self.policy.worker,
            backend=self.policy.backend,
            keys=tuple(kinds["key"]),
            tags=tuple(kinds["tag"]),
            prefixes=tuple(kinds["prefix"]),
            patterns=tuple(kinds["pattern"]),
            urls=tuple(kinds["url"]),
            all=bool(kinds["all"]),
            soft=soft,
            cause=cause,
            attempt=self._whole.attempts + 1,
            deadline=now + (FLUSH_SECONDS if cause else ATTEMPT_SECONDS),
        )
