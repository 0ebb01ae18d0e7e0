"""The work of a lane that comes after others, or purges once more: what waits for its time counts as pending. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.lanes.coalescer import Pending
from invalidator.lanes.pace import LARGEST_BATCH
from invalidator.lanes.rebounds import Rebound, Rebounds
from invalidator.lanes.tiers import Hold, Word
from invalidator.lanes.watermark import Roots
from invalidator.lanes.wishes import UNROOTED, Stamp, name_of, target_of
from invalidator.messages import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from invalidator.lanes.policy import Policy
    from invalidator.lanes.wishes import Stamps
    from invalidator.messages import Batch, FlushCause, Kind, PurgeResult, Target

RELEASED_AT_ONCE = LARGEST_BATCH
"""Whoever reads from Redis waits meanwhile: some 20 ms."""


class Ordered(Pending):
    """Pending, with a place before it for what has to wait, and one behind it for what comes back."""

    def __init__(self, policy: Policy, chance: Callable[[], float]) -> None:
        super().__init__(policy, chance)
        patience = policy.order.patience + policy.order.delay
        self._held: Hold[Target] = Hold(policy.order.delay, patience, policy.limit, self._is_flushable)
        self._held_flushes: Hold[FlushCause] = Hold(policy.order.delay, patience, policy.limit, lambda _: True)
        self._rebounds = Rebounds(policy.order.rebound, policy.limit)
        self._owed: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._hurried = self._refused = float("inf")
        self._roots = Roots()

    def follow(self, origins: Sequence[Policy]) -> None:
        """Wait for these lanes. In what is told of them, each is the bit of its place here."""
        # A lane that does nothing about a kind will have nothing to tell of it.
        self._owed = {
            kind: sum(1 << place for place, origin in enumerate(origins) if origin.takes(kind)) for kind in KINDS
        }

    def add(
        self, targets: Iterable[Target], *, soft: bool, ts: float | None, now: float, journaled: bool = False
    ) -> list[Target]:
        """See Pending."""
        if not self._holds:
            targets, homeless = tuple(targets), []
            # Where not all have room: a rebound that one of them makes needless leaves its own to the next.
            for part in [targets] if len(targets) <= self.room() else [(target,) for target in targets]:
                homeless += super().add(part, soft=soft, ts=ts, now=now, journaled=journaled)
                self._cancel_rebounds((target, soft) for target in part)
            return homeless
        return self._hold(targets, Stamp(ts, self.heard, journaled), soft=soft, now=now)

    def takes_keys(self, count: int) -> bool:
        """See Pending."""
        del count
        return False  # each has its own place in what waits, and may make a rebound needless

    def widen(self, targets: Sequence[Target], *, soft: bool, now: float) -> list[Target]:
        """See Pending. The flush that they are widened to waits as they would."""
        if not self._holds:
            return super().widen(targets, soft=soft, now=now)
        return self._hold(targets, Stamp(None, self.heard), soft=soft, now=now)

    def settled(self, targets: Iterable[tuple[Target, bool]], word: Word, *, soft: bool, now: float) -> list[Target]:
        """A lane that this one follows has done with targets, each with whether it is to do so again.

        Returns those for which there was no room, and no flush to stand for them: end them.
        """
        homeless = []
        stamp = self._stamp_after(word.root, journaled=word.journaled)
        for target, again in targets:
            if not self.policy.takes(target.kind):
                continue
            if self._stopping:
                homeless += self._take_at_once(target, stamp, soft=soft, now=now)
                continue
            waits = self._held.is_waiting(target)
            if not waits and self._refuses(stamp, 1 + again):
                continue
            if waits or self._makes_room(now, 1 + again):
                room = self._kept() < self.policy.limit
                self.received += self._held.settle(target, word, stamp, soft=soft, again=again, room=room)
            else:
                self.received += 1
                homeless += [] if self._turn_away(target, stamp, now) else [target]
        return homeless

    def flushed(self, origin: Policy, word: Word, now: float) -> list[Target]:
        """A lane that this one follows has done a flush. Returns as `settled`."""
        early = self._held.settle_covered(origin.stands_for, word)
        homeless = self.settled([(target, False) for target in early], word, soft=False, now=now)
        for cause in self._held_flushes.settle_covered(lambda _: True, word):
            self._held_flushes.settle(cause, word, self._stamp_after(word.root), soft=False)
        if self._held.has_forgotten(word):
            self._make_up_for_forgotten(now, word.root)
        return homeless

    def gap(self, cause: FlushCause, due: float, owed: int = 0) -> None:
        """See Pending."""
        if self._holds:
            # A cursor says that it is owed: a successor does it without having to read anything again.
            stamp = Stamp(None, self.heard, journaled=True)
            self._held_flushes.add(cause, owed, self.heard, stamp, soft=False, now=due)
        else:
            self.flush(cause, due, self.heard)

    def is_flushing(self) -> bool:
        """See Pending."""
        return super().is_flushing() or len(self._held_flushes) > 0

    def waits_its_time(self) -> bool:
        """See Pending."""
        return len(self._held) > 0 or len(self._held_flushes) > 0 or len(self._rebounds) > 0

    def is_wished(self, target: Target, *, purged: bool) -> bool:
        """See Pending. A rebound is no wish: what comes after this lane does not wait for it."""
        return super().is_wished(target, purged=purged) or target in self._held

    def next_due(self, now: float) -> float:
        """See Pending."""
        due = min(self._held.next_due(), self._held_flushes.next_due(), self._rebounds.next_due())
        return min(super().next_due(now), max(0.0, max(due, self.pace.due) - now))

    def take(self, now: float) -> Batch | None:
        """See Pending."""
        if not self.is_asking():
            self._release(now)
        return super().take(now)

    def kept_through(self) -> int:
        """See Pending. What was done before its time is done once more too, by a successor that reads it again."""
        return int(min(self.settled_through(), self._first_to_repeat() - 1, self._hurried - 1))

    def followed_through(self) -> int:
        """The number up to which everything is done that other lanes have given reason for after its end.

        What was done before its time has to be done once more for that, too.
        """
        repeated = min(self._first_to_repeat(), self._hurried, self._refused)
        return int(min(self._roots.oldest(self._rooted), repeated)) - 1

    def take_refused(self) -> bool:
        """Whether there was no room for something that is to be given again, since this was asked last."""
        refused, self._refused = self._refused < float("inf"), float("inf")
        return refused

    def hurry(self) -> None:
        """See Pending. What waits for a rebound is purged now: there is nobody to do it later."""
        held = [wish.stamp.first for _, wish in self._held.items()]
        self._hurried = min([self._hurried, self._first_to_repeat(), *held])
        super().hurry()
        self._put(((target, wish.soft, wish.stamp) for target, wish in self._held.drain()), 0.0)
        self._put(((target, rebound.soft, self._stamp_of(rebound)) for target, rebound in self._rebounds.drain()), 0.0)
        for cause, wish in self._held_flushes.drain():
            self.flush(cause, 0.0, wish.stamp.number).cover_root(wish.stamp.root)

    def resume(self, now: float) -> None:
        """See Pending. The lanes that go first did nothing either: what waits for them has waited for nothing."""
        self._held.wait_anew(now)
        self._held_flushes.wait_anew(now)

    def leftover(self) -> list[tuple[Target, Stamp]]:
        """See Pending."""
        held = [(target, wish.stamp) for target, wish in self._held.items()]
        return [*super().leftover(), *held, *((target, self._own_stamp) for target in self._rebounds)]

    def abandon(self) -> list[Target]:
        """See Pending. What was to be done once more is to be given reason for anew: not all of it may be kept."""
        self._hurried = min([self._hurried, *self._rooted()])
        targets = super().abandon()
        self._roots.forget()
        self._held.drain()
        self._rebounds.drain()
        return targets

    def _settle(self, batch: Batch, result: PurgeResult, now: float, unkept: int) -> list[float]:
        self._roots.forget()
        return super()._settle(batch, result, now, unkept)

    def _first_to_repeat(self) -> float:
        def is_pending(target: Target) -> bool:
            name = name_of(target)
            return name in self._flight or self._backlog.has(name, soft=True)

        return min(self._rebounds.numbers(is_pending), default=float("inf"))

    @property
    def _holds(self) -> bool:
        return self.policy.order.holds and not self._stopping

    @property
    def _own_stamp(self) -> Stamp:
        return Stamp(None, self._own_number)

    def _stamp_after(self, root: int, *, journaled: bool = False) -> Stamp:
        self._roots.note()
        return Stamp(None, self._own_number, journaled and self.policy.journal, root)

    def _outstanding(self) -> Iterator[int]:
        yield from super()._outstanding()
        yield from (wish.stamp.number for _, wish in self._held.items())
        yield from (wish.stamp.number for _, wish in self._held_flushes.items())

    def _rooted(self) -> Iterator[int]:
        """The root of everything that has one, and has not ended."""
        yield from (stamp.root for stamp in self._backlog.stamps())
        yield from (stamp.root for stamp in self._flight.values())
        yield from self._flushes.roots()
        yield from (wish.stamp.root for _, wish in self._held.items())
        yield from (wish.stamp.root for _, wish in self._held_flushes.items())

    def _hold(self, targets: Iterable[Target], stamp: Stamp, *, soft: bool, now: float) -> list[Target]:
        homeless = []
        for target in targets:
            self.received += 1
            owed = 0 if self.alone else self._owed[target.kind]
            if self._held.is_waiting(target) or self._makes_room(now):
                self.ends["coalesced"] += not self._held.add(target, owed, self.heard, stamp, soft=soft, now=now)
            else:
                self._held.forget(owed, self.heard)
                homeless += [] if self._turn_away(target, stamp, now) else [target]
        return homeless

    def _release(self, now: float) -> None:
        free = self._held.release(now, RELEASED_AT_ONCE)
        self._cancel_rebounds((target, wish.soft) for target, wish in free)
        self._put(((target, wish.soft, wish.stamp) for target, wish in free), now)
        for target, rebound in self._rebounds.release(now, RELEASED_AT_ONCE):
            if not super().is_wished(target, purged=True):
                self._rebounds.echo(target, rebound.number)
            self._put([(target, rebound.soft, self._stamp_of(rebound))], now)
        for cause, wish in self._held_flushes.release(now, RELEASED_AT_ONCE):
            self.flush(cause, now, wish.stamp.number).cover_root(wish.stamp.root)

    def _stamp_of(self, rebound: Rebound) -> Stamp:
        return self._stamp_after(rebound.number, journaled=rebound.stamp.journaled)

    def _refuses(self, stamp: Stamp, count: int) -> bool:
        """A full lane refuses what can be read again: the cursor of a lane that goes first waits for that."""
        if not stamp.journaled or self._kept() + count <= self.policy.limit:
            return False
        self._refused = min(self._refused, stamp.root)
        self.received += 1
        self.ends["coalesced"] += 1  # with what comes again
        return True

    def _is_flushable(self, target: Target) -> bool:
        return self.policy.on_gap and self.policy.stands_for(target)

    def _make_up_for_forgotten(self, now: float, root: int) -> None:
        if self.policy.on_gap:
            self._overflow(now).cover_root(root)
        lost = self._held.count_lost()
        self.received += lost
        self.ends["lost"] += lost

    def _put(self, wishes: Iterable[tuple[Target, bool, Stamp]], now: float) -> None:
        """What has waited long enough, and was received before, is due now."""
        for target, soft, stamp in wishes:
            if target.kind not in self.policy.kinds:
                self.flush("unsupported", now, stamp.number).cover([stamp])
                continue
            if not self._backlog.fresh:
                self._gathered = now
            self.ends["coalesced"] += self._backlog.put(name_of(target), stamp, soft=soft)

    def _take_at_once(self, target: Target, stamp: Stamp, *, soft: bool, now: float) -> list[Target]:
        self._hurried = min(self._hurried, stamp.root)
        if self._refuses(stamp, 1):
            return []
        self.received += 1
        if not self._makes_room(now):
            return [] if self._turn_away(target, stamp, now) else [target]
        self._put([(target, soft, stamp)], now)
        return []

    def _cancel_rebounds(self, wishes: Iterable[tuple[Target, bool]]) -> None:
        if self.policy.order.rebound:
            self.ends["coalesced"] += sum(self._rebounds.wished(target, soft=soft) for target, soft in wishes)

    def _purged(self, targets: Stamps, now: float, *, soft: bool) -> None:
        if not self.policy.order.rebound or self._stopping:
            return
        for name, stamp in targets.items():
            target = target_of(name)
            if self._rebounds.was_echo(target) or self._backlog.fresh.has(name, soft=soft):
                continue
            self.received += 1
            if self._makes_room(now):
                self.ends["coalesced"] += self._rebounds.add(target, now, stamp, soft=soft)
            elif not self._turn_away(target, self._own_stamp, now):
                self.ends["lost"] += 1

    def _kept(self) -> int:
        return super()._kept() + len(self._held) + len(self._rebounds)

    def _sweep(self) -> list[Stamp]:
        covered = self.policy.is_covered
        root = min(self._rebounds.numbers(lambda _: False), default=UNROOTED)
        rebounds = [self._stamp_after(root)] * self._rebounds.drop(covered)
        return [*super()._sweep(), *self._held.drop(covered), *rebounds]

    def _drop_covered(self, wider: tuple[Target, ...]) -> list[Stamp]:
        self._rebounds.forget_echoes()
        return super()._drop_covered(wider)
