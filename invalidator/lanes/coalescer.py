"""Coalesced: what a lane still has to purge, as a bounded set of distinct targets. Pure: takes `now`, does no I/O.

It decides what goes into the next Batch, and what an answer means for each of its targets. Its counts always add up:
the targets received are the sum of their ends and of what is pending.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from invalidator.lanes.answers import not_final, outcome_of
from invalidator.lanes.batches import make_batch
from invalidator.lanes.flushes import Flush, Flushes
from invalidator.lanes.pace import ATTEMPT_SECONDS, FLUSH_SECONDS, Pace
from invalidator.lanes.watermark import Watermark
from invalidator.lanes.wishes import Backlog, Stamp, Stamps, as_one, name_of, target_of
from invalidator.slots import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from invalidator.lanes.breaker import Breaker
    from invalidator.lanes.policy import Policy
    from invalidator.lanes.wishes import Name
    from invalidator.messages import Batch, FailureReason, FlushCause, Keys, PurgeResult, Target
    from invalidator.slots import End


@dataclass(slots=True)
class Pending:
    """One lane's work: wishes that are fresh, those to be tried again, at most one flush, and one batch in flight."""

    policy: Policy
    chance: Callable[[], float]
    received: int = 0
    heard: int = 0
    """The number of the last offer that was taken in: its worker counts them."""
    alone: bool = False
    """Whether what is offered now is offered to this lane alone, so that no other has anything to tell of it."""
    unjournaled: int = 0
    """Of a lane that reads from a journal: how many of the pending at most will not come again from there."""
    ends: dict[End, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    pace: Pace = field(init=False)
    _backlog: Backlog = field(default_factory=Backlog)
    _flight: Stamps = field(default_factory=dict)
    _flushes: Flushes = field(init=False)
    _flushed_last: bool = False
    _swept: bool = False
    _collapsed: bool = False
    _stopping: bool = False
    _gathered: float = 0.0
    _unjournaled_until: int = 0
    _watermark: Watermark = field(default_factory=Watermark)

    def __post_init__(self) -> None:
        self.pace = Pace(self.chance)
        self._flushes = Flushes(self.policy)

    def __len__(self) -> int:
        """How many targets are pending: waiting, in flight, or covered by a flush that is not done yet."""
        return self._kept() + self._flushes.covered

    def add(
        self, targets: Iterable[Target], *, soft: bool, ts: float | None, now: float, journaled: bool = False
    ) -> list[Target]:
        """Take targets in. Returns those for which there is no room, and no flush to stand for them: end them."""
        backlog = self._backlog
        policy = self.policy
        if not backlog.fresh:
            self._gathered = now + policy.window
        stamp = Stamp(ts, self.heard, journaled)
        spoils = policy.journal and not journaled  # what it becomes one with does not come again by itself
        room = policy.limit - self._kept()
        homeless = []
        for target in targets:
            self.received += 1
            name = name_of(target)
            if backlog.has(name, soft=soft):
                self.ends["coalesced"] += 1
                if spoils:
                    backlog.join(name, stamp, soft=soft)
            elif room > 0 or name in backlog.fresh.soft or self._makes_room(now):
                room -= 1
                if backlog.fresh.put(name, stamp, soft=soft):
                    self.ends["coalesced"] += 1
            elif not self._turn_away(target, stamp, now):
                homeless.append(target)
        return homeless

    def add_keys(self, keys: Keys, ts: float | None, now: float) -> None:
        """Take in keys that are to be removed, where `takes_keys` says so."""
        fresh = self._backlog.fresh
        if not fresh:
            self._gathered = now + self.policy.window
        self.received += len(keys)
        self.ends["coalesced"] += fresh.put_keys(keys, Stamp(ts, self.heard, self.policy.journal))

    def takes_keys(self, count: int) -> bool:
        """Whether there is room for so many keys, and nothing to look at for each of them."""
        return self._backlog.takes_keys and count <= self.room()

    def hear_unjournaled(self, count: int) -> None:
        """What is about to be added will not come again from the journal."""
        self.unjournaled += count
        self._unjournaled_until = self.heard

    def room(self) -> int:
        """How many more targets may be kept one by one."""
        return self.policy.limit - self._kept()

    def settled_through(self) -> int:
        """The number up to which every offer and flush that was taken in has come to its end: it never goes back.

        The last one that was heard, if nothing is outstanding. To be asked some times a second, not for each message.
        """
        return self._watermark.settled_through(self._outstanding, self.heard)

    def kept_through(self) -> int:
        """The same, of what need not be read again if the process ends: what is to be purged once more has to be."""
        return self.settled_through()

    def in_flight(self) -> Stamp:
        """Of all that is in flight, as if it were one wish."""
        return self._flushes.in_flight() or as_one(self._flight.values())

    def end(self, end: End, count: int) -> None:
        """Targets that `add` had no room for have come to this end."""
        self.ends[end] += count

    def skip(self, count: int) -> None:
        """Targets of a kind that the backend lacks came, and ended at once."""
        self.received += count
        self.ends["skipped"] += count

    def widen(self, targets: Sequence[Target], *, soft: bool, now: float) -> list[Target]:
        """Targets of a kind that the backend lacks came, for which its operator wants the flush. Returns as `add`."""
        del soft
        self.received += len(targets)
        self.flush("unsupported", now, self.heard).covered += len(targets)
        return []

    @property
    def flush_heard(self) -> int:
        """The number of the last offer that the last flush stands for."""
        return self._flushes.heard

    def is_wished(self, target: Target, *, purged: bool) -> bool:
        """Whether it is to be purged again, after the answer that says whether it was `purged`."""
        # A flush may stand for it: since long, for what was not purged, or for what came while it was in flight.
        if (self._collapsed or not purged) and self._flushes and self.policy.stands_for(target):
            return True
        return self._backlog.has(name_of(target), soft=True)

    def gap(self, cause: FlushCause, due: float, owed: int = 0) -> None:
        """A Gap asks for the flush from `due` on, once the lanes of `owed` have done theirs: here, nobody waits."""
        del owed
        self.flush(cause, due, self.heard)

    def flush(self, cause: FlushCause, due: float, number: int = 0) -> Flush:
        """Ask for a flush from `due` on. Those asked for before it is begun are one, as early as the earliest.

        The worker's offer or flush of this `number` has not ended before it is done.
        """
        return self._flushes.ask(cause, due, number)

    def is_flushing(self) -> bool:
        """Whether a flush was asked for and is not done."""
        return bool(self._flushes)

    def waits_its_time(self) -> bool:
        """Whether something waits that must not be hurried: here, gathering is all that anything waits for."""
        return False

    def is_asking(self) -> bool:
        """Whether a batch is in flight."""
        return bool(self._flight or self._flushes.flight)

    def is_overdue(self) -> bool:
        """Whether something was to be done by now and is not: a flush, or what has failed or was put off."""
        return self.is_flushing() or bool(self._backlog.again) or self.failures > 0 or self.is_deferred()

    def is_deferred(self) -> bool:
        """Whether something waits because the backend has put it off."""
        return self.pace.deferred_until > 0 and bool(self._backlog.fresh or self._flushes)

    @property
    def breaker(self) -> Breaker:
        """The lane's circuit breaker."""
        return self.pace.whole

    @property
    def failures(self) -> int:
        """Attempts that failed as a whole since the last that did not."""
        return self.pace.whole.retry.attempts

    def next_due(self, now: float) -> float:
        """Seconds until `take` has something to give; infinite if nothing waits."""
        due = self._flushes.due
        if self._backlog.fresh:
            due = min(due, now if len(self._backlog.fresh) >= self.pace.batch_size else self._gathered)
        if self._backlog.again:
            due = min(due, self.pace.part.due)
        return max(0.0, max(due, self.pace.due) - now)

    def take(self, now: float) -> Batch | None:
        """The next batch, which is then in flight until it is settled; None if nothing is due."""
        if self.is_asking() or now < self.pace.due:
            return None
        if self._flushes.waiting and now >= self._flushes.due and not (self._flushed_last and self._backlog.fresh):
            return self._take_flush(self._flushes.waiting, now)
        self._flushed_last = False
        fresh = self._backlog.fresh and (now >= self._gathered or len(self._backlog.fresh) >= self.pace.batch_size)
        again = self._backlog.again and now >= self.pace.part.due
        if not fresh and not again:
            return None
        self._collapsed = False
        wishes = self._backlog.choose(fresh=bool(fresh), again=bool(again))
        self._flight, soft = wishes.take(self.pace.next_size(again=self._backlog.retried))
        return self._asked(self._flight, now + ATTEMPT_SECONDS, soft=soft)

    def judge(self, result: PurgeResult, now: float) -> PurgeResult:
        """The answer to the batch in flight, with what is to be tried again: not for ever, and not only once.

        To be asked once, before `poison` and `settle`, and given to them.
        """
        return self.pace.budgets.judge(not_final(result, self._flight), self._flight, now) if self._flight else result

    def settle(self, batch: Batch, result: PurgeResult, now: float, *, unkept: int = 0) -> list[float]:
        """What the answer to the batch in flight means. Returns the publishers' times of the targets purged by it.

        Of the targets that are not to be tried again, `unkept` could not be dead-lettered: they are lost.
        """
        stamps = self._settle(batch, result, now, unkept)
        if self.unjournaled and self.settled_through() >= self._unjournaled_until:
            self.unjournaled = 0
        return stamps

    def _settle(self, batch: Batch, result: PurgeResult, now: float, unkept: int) -> list[float]:
        self.pace.deferred_until = 0.0
        if self._flushes.flight:
            self._watermark.forget()
            self._settle_flush(self._flushes.flight, result, now)
            return []
        flight, self._flight = self._flight, {}
        outcome = outcome_of(result, flight)
        if outcome.purged or outcome.dead:  # with a full lane a look at all that waits, after each failure, for nothing
            self._watermark.forget()
        self.pace.learn(outcome.tried, now - (batch.deadline - ATTEMPT_SECONDS))
        self.pace.answered(outcome, result, now, retried=self._backlog.retried)
        if outcome.deferred:
            self.pace.deferred(now, result.retry_after)
            self.ends["coalesced"] += self._backlog.fresh.put_back(outcome.deferred, soft=batch.soft)
        for name, stamp in outcome.again.items():
            self.ends["coalesced"] += self._backlog.put_aside(name, stamp, soft=batch.soft)
        self.ends["dead"] += len(outcome.dead) - unkept
        self.ends["lost"] += unkept
        self.ends["skipped" if self.policy.dry_run else "purged"] += len(outcome.purged)
        self._purged(outcome.purged, now, soft=batch.soft)
        return [stamp.ts for stamp in outcome.purged.values() if stamp.ts is not None]

    def poison(self, result: PurgeResult) -> dict[Target, FailureReason]:
        """The targets in flight that will never be taken, each with its reason. To be asked before `settle`."""
        flight = self._flight
        failures = [failure for failure in result.failures if not failure.retry and name_of(failure.target) in flight]
        return {failure.target: failure.reason for failure in failures}

    def hurry(self) -> None:
        """The worker stops: whatever waits for its time is due now."""
        self._stopping = True
        self._gathered = 0.0
        self.pace.hurry()
        self._flushes.hurry()

    def leftover(self) -> list[tuple[Target, Stamp]]:
        """The targets that are pending one by one. Those behind a flush are not among them: it stands for them."""
        return [*self._backlog.items(), *((target_of(name), stamp) for name, stamp in self._flight.items())]

    def abandon(self) -> list[Target]:
        """The worker ends, and nobody will purge these, whose end the caller says. What is journaled comes again."""
        left = self.leftover()
        journaled = [stamp.number for _, stamp in left if stamp.journaled]
        self._watermark.end_at(journaled)
        self.ends["coalesced"] += len(journaled)
        self._backlog.clear()
        self._flight.clear()
        return [target for target, stamp in left if not stamp.journaled]

    def resume(self, now: float) -> None:
        """A pause has ended."""

    def _purged(self, targets: Stamps, now: float, *, soft: bool) -> None:
        """For those that purge once more."""

    def _makes_room(self, now: float, count: int = 1) -> bool:
        """Whether there is room for so many more, if need be after the flush has taken the place of what it covers."""
        if self._kept() + count <= self.policy.limit:
            return True
        # Going through a full lane for nothing at each target would cost more than all the rest.
        if not self.policy.on_gap or self._swept:
            return False
        freed = self._sweep()
        self._swept = len(freed) < self.policy.limit // 10
        if freed:
            self._overflow(now).cover(freed)
        return self._kept() + count <= self.policy.limit

    def _turn_away(self, target: Target, stamp: Stamp, now: float) -> bool:
        """There is no room for a target. Whether the flush stands for it."""
        stands = self.policy.on_gap and self.policy.stands_for(target)
        if stands:
            self._overflow(now).cover([stamp])
        return stands

    def _overflow(self, now: float) -> Flush:
        self._collapsed = True
        # It may stand for what other lanes have purged a moment ago.
        return self._flushes.ask("overflow", now, self._own_number, earliest=now + self.policy.order.delay)

    @property
    def _own_number(self) -> int:
        """Of what this lane does by itself: no offer that it has heard waits for that, and each later one may."""
        return self.heard + 1

    def _outstanding(self) -> Iterator[int]:
        """The number of everything that has not ended."""
        yield from (stamp.number for stamp in self._backlog.stamps())
        yield from (stamp.number for stamp in self._flight.values())
        yield from self._flushes.numbers()

    def _kept(self) -> int:
        """How many targets are kept one by one. What is in flight counts too: it may all come back."""
        return len(self._backlog) + len(self._flight)

    def _sweep(self) -> list[Stamp]:
        return self._drop_covered(self.policy.flush)

    def _drop_covered(self, wider: tuple[Target, ...]) -> list[Stamp]:
        self.pace.budgets.drop_covered(wider)
        return self._backlog.drop_covered(wider)

    def _take_flush(self, flush: Flush, now: float) -> Batch:
        # Only now does the flush take the place of what waits: until it was due, each target went its own way.
        flush.cover(self._drop_covered(flush.targets))
        self._flushes.begin(flush, self.heard)
        self._flushed_last = True  # flushes and targets take turns, or a stream of one would keep the other waiting
        return self._asked(flush.targets, now + FLUSH_SECONDS, soft=False, cause=flush.cause)

    def _settle_flush(self, flush: Flush, result: PurgeResult, now: float) -> None:
        tried = len(flush.targets) - len(result.deferred)
        self.pace.flushed(tried, now, result.retry_after, failed=bool(result.failures))
        if result.deferred:
            self.pace.deferred(now, result.retry_after)
        self.ends["skipped" if self.policy.dry_run else "flushed"] += self._flushes.settle(result)

    def _asked(
        self, targets: Collection[Name], deadline: float, *, soft: bool, cause: FlushCause | Literal[""] = ""
    ) -> Batch:
        attempt = self.failures + 1
        self._swept = False  # only what is taken makes room; a lane that waits is woken by each message
        self.breaker.asked()
        last = self._stopping
        return make_batch(self.policy, targets, deadline=deadline, attempt=attempt, soft=soft, cause=cause, last=last)
