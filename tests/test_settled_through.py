"""Up to which offer a lane has done everything: what cursors, receipts and the retry of dead letters build on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invalidator import Failure, Invalidation, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.admission import admit
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.flushes import Flush
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import Order
from invalidator.lanes.wishes import Wishes, covers
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.slots import clock
from invalidator.supervision.metrics import Totals
from invalidator.supervision.remains import Remains
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.tiers import Tiers
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator import Batch

FATES = st.lists(st.sampled_from(["ok", "again", "dead", "later"]), min_size=6, max_size=6)
NAMES = ["k1", "k2", "k3", "x1", "x2", "x3"]
FLUSHED = Target("prefix", "k")
A, B = Target("key", "a"), Target("key", "b")


def keys(*names: str) -> tuple[Target, ...]:
    return tuple(Target("key", name) for name in names)


def outcome(batch: Batch, fates: list[str]) -> PurgeResult:
    fate = dict(zip(targets_of(batch), fates, strict=False))
    failed = [
        Failure(target, "error", retry=word == "again") for target, word in fate.items() if word in ("again", "dead")
    ]
    return PurgeResult(tuple(failed), deferred=tuple(target for target, word in fate.items() if word == "later"))


class Naive:
    """What is open of each offer, said as simply as one can: a batch ends what was open when it was taken."""

    def __init__(self) -> None:
        self.open: set[tuple[int, Target, bool]] = set()
        self.meant: set[tuple[int, Target, bool]] = set()

    def offered(self, number: int, targets: tuple[Target, ...], *, soft: bool) -> None:
        self.open |= {(number, target, soft) for target in targets}

    def taken(self, batch: Batch) -> None:
        asked = list(targets_of(batch))
        self.meant = {
            (number, target, soft)
            for number, target, soft in self.open
            if (
                any(covers(one, target) for one in asked)
                if batch.cause
                else target in asked and (soft or not batch.soft)
            )
        }

    def answered(self, batch: Batch, result: PurgeResult) -> None:
        undone = {*result.deferred, *(failure.target for failure in result.failures if failure.retry or batch.cause)}
        if batch.cause:
            self.open -= set() if undone else self.meant
        else:
            self.open -= {wish for wish in self.meant if wish[1] not in undone}

    def through(self, heard: int) -> int:
        return min((number for number, _, _ in self.open), default=heard + 1) - 1


class OneLane(RuleBasedStateMachine):
    """A lane says of each offer whether it has come to its end, as somebody would who remembers everything."""

    @initialize(on_gap=st.booleans(), limit=st.integers(1, 6), journal=st.booleans())
    def begin(self, on_gap: bool, limit: int, journal: bool) -> None:
        policy = Policy("w", "b", flush=(FLUSHED,), on_gap=on_gap, limit=limit, journal=journal)
        self.lane, self.naive = Pending(policy, lambda: 0.5), Naive()
        self.now, self.number, self.last = 0.0, 0, 0
        self.flight: Batch | None = None

    @rule(names=st.lists(st.sampled_from(NAMES)), soft=st.booleans(), journaled=st.booleans())
    def offer(self, names: list[str], soft: bool, journaled: bool) -> None:
        self.number += 1
        self.lane.heard = self.number
        message = Invalidation(keys(*names), soft=soft, journal="1-1" if journaled else "")
        taken, homeless = admit(self.lane, [message], self.now)
        self.lane.end("dead", len(homeless))
        if taken:
            kept = tuple(target for target in message.targets if target not in homeless)
            self.naive.offered(self.number, kept, soft=soft)

    @rule(delay=st.floats(0, 2))
    def gap(self, delay: float) -> None:
        self.number += 1
        self.lane.heard = self.number
        self.lane.gap("disconnect", self.now + delay)
        self.naive.offered(self.number, (FLUSHED,), soft=False)

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.flight is None)
    @rule()
    def take(self) -> None:
        self.flight = self.lane.take(self.now)
        if self.flight:
            self.naive.taken(self.flight)

    @precondition(lambda self: self.flight is not None)
    @rule(fates=FATES)
    def settle(self, fates: list[str]) -> None:
        assert self.flight is not None
        result = outcome(self.flight, fates)
        self.lane.settle(self.flight, result, self.now)
        self.naive.answered(self.flight, result)
        self.flight = None

    @invariant()
    def says_what_the_naive_one_says(self) -> None:
        if hasattr(self, "lane"):
            said = self.lane.settled_through()
            assert said == self.naive.through(self.number)
            assert said >= self.last
            self.last = said
            assert self.lane.received == sum(self.lane.ends.values()) + len(self.lane)

    def teardown(self) -> None:
        if not hasattr(self, "lane"):
            return
        for _ in range(100):
            if self.flight:
                self.settle(["ok"] * 6)
            self.now += 1_000.0
            self.take()
            if self.flight is None:
                break
        assert self.lane.settled_through() == self.number


class TwoTiers(RuleBasedStateMachine):
    """The same of a lane that comes after another, with delays and rebounds: it may say less, never more."""

    @initialize(delay=st.sampled_from([0.0, 0.2]), rebound=st.sampled_from([0.0, 1.0]), limit=st.integers(2, 6))
    def begin(self, delay: float, rebound: float, limit: int) -> None:
        self.tiers = Tiers(Order("objects", delay, rebound, patience=5.0), limit=limit, flush=(FLUSHED,))
        self.naive, self.last = Naive(), 0
        watch(self.tiers.edge, self.naive)

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=3), soft=st.booleans())
    def offer(self, names: list[str], soft: bool) -> None:
        dead = self.tiers.edge.ends["dead"]
        self.tiers.offer(*keys(*names), soft=soft)
        if self.tiers.edge.ends["dead"] == dead:
            self.naive.offered(self.tiers.number, keys(*names), soft=soft)

    @rule()
    def gap(self) -> None:
        self.tiers.gap()
        self.naive.offered(self.tiers.number, (FLUSHED,), soft=False)

    @rule()
    def origin_takes(self) -> None:
        self.tiers.take(0)

    @rule(fate=st.sampled_from(["ok", "again", "dead", "later"]))
    def origin_settles(self, fate: Any) -> None:
        self.tiers.settle(0, lambda _: fate)

    @rule(fate=st.sampled_from(["ok", "again", "dead", "later"]))
    def edge_changes(self, fate: Any) -> None:
        self.tiers.edge_fate = lambda _: fate

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.tiers.advance(seconds)

    @invariant()
    def says_no_more_than_the_naive_one(self) -> None:
        if hasattr(self, "tiers"):
            said = self.tiers.edge.settled_through()
            assert self.last <= said <= self.naive.through(self.tiers.number)
            self.last = said

    def teardown(self) -> None:
        if hasattr(self, "tiers"):
            self.tiers.finish()
            assert self.tiers.edge.settled_through() == self.tiers.number


def watch(lane: Pending, naive: Naive) -> None:
    take, settle = lane.take, lane.settle

    def watched_take(now: float) -> Batch | None:
        if batch := take(now):
            naive.taken(batch)
        return batch

    def watched_settle(batch: Batch, result: PurgeResult, now: float, **more: int) -> list[float]:
        stamps = settle(batch, result, now, **more)
        naive.answered(batch, result)
        return stamps

    vars(lane).update(take=watched_take, settle=watched_settle)


OneLane.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TwoTiers.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestOneLane = OneLane.TestCase
TestTwoTiers = TwoTiers.TestCase


# One by one.


def offered(lane: Pending, number: int, *targets: Target) -> None:
    lane.heard = number
    lane.add(targets, soft=False, ts=None, now=0.0)


def take(lane: Pending, now: float = 0.0) -> Batch:
    batch = lane.take(now)
    assert batch is not None
    return batch


def test_a_target_that_is_wished_again_keeps_the_older_number() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    offered(lane, 1, A)
    offered(lane, 2, B, A)
    assert lane.settled_through() == 0
    lane.settle(take(lane), PurgeResult(), 0.0)
    assert lane.settled_through() == 2


def test_what_comes_while_it_is_in_flight_is_another_wish_with_its_own_number() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    offered(lane, 1, A)
    first = take(lane)
    offered(lane, 2, A)
    lane.settle(first, PurgeResult(), 0.0)
    assert lane.settled_through() == 1


FAILED = PurgeResult((Failure(A, "timeout"),))
PUT_OFF = PurgeResult(deferred=(A,))


def asked_again_in_flight(answer: PurgeResult) -> int:
    """Up to where a lane has done everything that was asked for a target again while it was in flight."""
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    offered(lane, 1, A, B)
    first = take(lane)
    offered(lane, 2, A)
    lane.settle(first, answer, 0.0)
    return lane.settled_through()


def collapsed() -> int:
    """The same of a lane that has collapsed to its flush."""
    lane = Pending(Policy("w", "b", flush=(Target("all"),), on_gap=True, limit=2), lambda: 0.5)
    offered(lane, 1, A)
    offered(lane, 2, *keys("b", "c", "d"))
    return lane.settled_through()


def test_what_failed_or_was_put_off_and_is_asked_for_again_meanwhile_has_not_ended() -> None:
    assert (asked_again_in_flight(FAILED), asked_again_in_flight(PUT_OFF), collapsed()) == (0, 0, 0)
    assert asked_again_in_flight(PurgeResult()) == 1


def test_wishes_and_flushes_that_forget_the_older_number_would_claim_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above, and for the machines.
    monkeypatch.setattr(Wishes, "join", lambda *_: None)
    monkeypatch.setattr("invalidator.lanes.wishes._in_front", lambda stamps, others: stamps | others)
    monkeypatch.setattr(Flush, "cover", lambda self, stamps: None)
    assert (asked_again_in_flight(FAILED), asked_again_in_flight(PUT_OFF), collapsed()) == (1, 1, 1)


def looks_after(answer: PurgeResult) -> int:
    """How often a lane goes through all that waits to say how far it is, after such an answer."""
    looks = 0

    class Counting(Pending):
        def _outstanding(self) -> Iterator[int]:
            nonlocal looks
            looks += 1
            return super()._outstanding()

    lane = Counting(Policy("w", "b"), lambda: 0.5)
    offered(lane, 1, A, B)
    assert lane.settled_through() == 0
    looks = 0
    lane.settle(take(lane), answer, 0.0)
    lane.settled_through()
    return looks


def test_a_lane_that_waits_for_its_backend_does_not_go_through_what_waits_after_each_attempt() -> None:
    # At its limit it keeps a hundred thousand, and the worker's loop, which the other lanes share, would stand still.
    assert looks_after(PurgeResult((Failure(A, "timeout"), Failure(B, "timeout")))) == 0
    assert looks_after(PurgeResult(deferred=(A, B))) == 0
    assert looks_after(PurgeResult((Failure(A, "timeout"),))) == 1


def test_a_rebound_keeps_nobody_waiting() -> None:
    tiers = Tiers(Order(rebound=2.0), origins=0)
    tiers.offer(A)
    tiers.advance(0.1)
    assert (len(tiers.edge), tiers.edge.settled_through()) == (1, 1)


def test_whoever_is_killed_before_a_rebound_has_to_read_again_what_it_is_of() -> None:
    tiers = Tiers(Order(rebound=2.0), origins=0)
    tiers.offer(A)
    tiers.advance(0.1)
    assert (tiers.edge.settled_through(), tiers.edge.kept_through()) == (1, 0)
    tiers.advance(2.0)
    assert (len(tiers.edge), tiers.edge.kept_through()) == (0, 1)


@pytest.mark.parametrize("order", [Order(rebound=2.0), Order(delay=2.0)])
def test_what_a_stop_does_before_its_time_is_read_again_by_a_successor(order: Order) -> None:
    tiers = Tiers(order, origins=0)
    tiers.offer(A)
    tiers.advance(0.1)
    tiers.edge.hurry()
    tiers.advance(0.1)
    assert (len(tiers.edge), tiers.edge.settled_through(), tiers.edge.kept_through()) == (0, 1, 0)


def test_what_a_delay_keeps_back_has_not_ended() -> None:
    tiers = Tiers(Order(delay=2.0), origins=0)
    tiers.offer(A)
    tiers.advance(0.1)
    assert tiers.edge.settled_through() == 0
    tiers.advance(2.0)
    assert tiers.edge.settled_through() == 1


def test_what_is_skipped_or_given_up_has_ended(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, Policy("users", "objects", kinds=frozenset({"key"}), limit=1))
    rig.lane.offer([Invalidation((Target("tag", "t"),))], clock(), 1)
    assert rig.lane.settled_through() == 1
    rig.lane.offer([Invalidation((A,))], clock(), 2)
    rig.lane.turn()
    rig.lane.pause()
    rig.lane.offer([Invalidation((A, B))], clock(), 3)
    assert (rig.ended("dead"), rig.lane.settled_through()) == (1, 2)
    rig.lane.resume()
    rig.lane.turn()
    assert rig.lane.settled_through() == 3


# A full lane that reads from a journal.


def journaled(*names: str) -> Invalidation:
    return Invalidation(keys(*names), journal="1732312345123-0")


def lane_of(tmp_path: Path, backend: Scripted | None = None, *, journal: bool = True, on_gap: bool = True) -> Rig:
    flush = (Target("all"),) if on_gap else ()
    policy = Policy("users", "objects", on_gap=on_gap, flush=flush, limit=4, journal=journal)
    return Rig(backend or Inline(), tmp_path, policy)


@pytest.mark.parametrize("on_gap", [True, False])
def test_a_full_lane_refuses_what_comes_again_from_the_journal(tmp_path: Path, on_gap: bool) -> None:
    rig = lane_of(tmp_path, on_gap=on_gap)
    messages = [journaled("a", "b", "c"), journaled("d", "e"), journaled("f")]
    assert rig.lane.offer(messages, clock(), 1) == 1
    assert (rig.ended("coalesced"), rig.counts()["pending"], rig.lane.room()) == (3, 3, 1)
    rig.lane.turn()
    assert rig.lane.offer(messages[1:], clock(), 2) == 2
    rig.lane.turn()
    assert [batch.keys for batch in rig.backend.batches] == [("a", "b", "c"), ("d", "e", "f")]
    assert (rig.lane.settled_through(), rig.letters(), rig.adds_up()) == (2, [], True)


def test_a_worker_without_a_journal_refuses_nothing(tmp_path: Path) -> None:
    # The control: what it does not read is as good as unjournaled.
    rig = lane_of(tmp_path, journal=False)
    assert rig.lane.offer([journaled("a", "b", "c"), journaled("d", "e")], clock(), 1) == 2
    rig.lane.turn()
    assert [batch.cause for batch in rig.backend.batches] == ["overflow"]


def test_what_stands_in_no_journal_is_taken_among_what_is_refused_and_collapses_the_lane(tmp_path: Path) -> None:
    rig = lane_of(tmp_path)
    messages = [journaled("a", "b", "c"), journaled("d", "e"), Invalidation(keys("u", "v")), journaled("f")]
    assert rig.lane.offer(messages, clock(), 1) == 1
    rig.lane.turn()
    assert rig.backend.batches[0].cause == "overflow"
    assert (rig.lane.settled_through(), rig.adds_up()) == (1, True)


def test_a_message_larger_than_the_lane_is_not_refused_for_ever(tmp_path: Path) -> None:
    rig = lane_of(tmp_path)
    assert rig.lane.offer([journaled(*"abcdefgh")], clock(), 1) == 1
    rig.lane.turn()
    assert rig.lane.settled_through() == 1


def test_at_the_end_what_stands_in_the_journal_is_left_to_it_and_the_rest_dead_lettered(tmp_path: Path) -> None:
    rig = lane_of(tmp_path, Inline(lambda batch: PurgeResult(tuple(Failure(t, "timeout") for t in targets_of(batch)))))
    rig.lane.offer([journaled("mine")], clock(), 1)
    rig.lane.offer([Invalidation(keys("theirs"))], clock(), 2)
    rig.lane.offer([journaled("both")], clock(), 3)
    rig.lane.offer([Invalidation(keys("both"))], clock(), 4)
    assert rig.stop() == 3
    assert sorted(letter["target"] for letter in rig.letters()) == ["both", "theirs"]
    assert (rig.ended("coalesced"), rig.ended("dead"), rig.adds_up()) == (2, 2, True)
    assert rig.lane.settled_through() == 0, "nobody moves a cursor over it"


def test_a_lane_that_forgets_what_was_asked_for_outside_of_the_journal_would_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above.
    monkeypatch.setattr("invalidator.lanes.wishes.Backlog.join", lambda *_, **__: None)
    rig = lane_of(tmp_path, Inline(lambda batch: PurgeResult(tuple(Failure(t, "timeout") for t in targets_of(batch)))))
    rig.lane.offer([journaled("both")], clock(), 1)
    rig.lane.offer([Invalidation(keys("both"))], clock(), 2)
    rig.stop()
    assert rig.letters() == []


# The dispatcher.


def two_lanes(tmp_path: Path, limit: int) -> tuple[Dispatcher, Rig, Rig]:
    near = Rig(Inline(), tmp_path, Policy("users", "objects", limit=100, journal=True))
    far = Rig(Inline(), tmp_path, Policy("users", "objects", limit=limit, journal=True))
    return Dispatcher([near.lane, far.lane], get_logger()), near, far


def test_the_dispatcher_says_which_lane_refused_what_and_offers_it_to_that_one_alone(tmp_path: Path) -> None:
    dispatcher, near, far = two_lanes(tmp_path, limit=2)
    messages = [journaled("a", "b"), journaled("c")]
    number = dispatcher.dispatch(messages, clock())
    assert dispatcher.refused == {far.lane: 1}
    dispatcher.turn()
    again = dispatcher.dispatch(messages[1:], clock(), only=far.lane)
    assert (again, dispatcher.refused) == (number + 1, {})
    dispatcher.turn()
    assert far.lane.settled_through() == again
    assert near.lane.settled_through() == number, "it has not heard of the other offer"
    assert [batch.keys for batch in near.backend.batches] == [("a", "b", "c")]


def test_a_lane_that_comes_after_another_does_not_wait_for_it_when_it_is_asked_alone(tmp_path: Path) -> None:
    late = Policy("users", "edge", order=Order("objects", patience=1_000.0), journal=True)
    near, far = Rig(Inline(), tmp_path, Policy("users", "objects", journal=True)), Rig(Inline(), tmp_path, late)
    dispatcher = Dispatcher([near.lane, far.lane], get_logger())
    number = dispatcher.dispatch([journaled("a")], clock(), only=far.lane)
    dispatcher.turn()
    assert far.lane.settled_through() == number


def test_a_lane_asks_on_its_thread_and_says_so_when_it_has_done(tmp_path: Path) -> None:
    rig = lane_of(tmp_path, Scripted()).start()
    rig.lane.offer([journaled("a")], clock(), 7)
    wait_until(lambda: rig.lane.settled_through() == 7)
    rig.stop()


# What the supervisor makes of a worker that was killed.


def killed(tmp_path: Path, ends: Remains, *messages: Invalidation) -> dict[str, int]:
    """The ends of what these asked for in a worker that was killed before it had done it."""
    rig = lane_of(tmp_path)
    rig.lane.offer(messages, clock(), 1)
    rig.counts()
    totals = Totals()
    totals.fold(rig.region.snapshot(), {"objects": ends})
    return totals.plus([], ["objects"]).backends["objects"]


def test_after_a_kill_what_stands_in_the_journal_comes_again_and_the_rest_is_lost(tmp_path: Path) -> None:
    words = killed(tmp_path, Remains("coalesced", "lost"), journaled("a", "b"), Invalidation(keys("c")))
    assert (words["received"], words["coalesced"], words["lost"]) == (3, 2, 1)


def test_what_stands_in_no_journal_is_counted_only_until_it_has_ended(tmp_path: Path) -> None:
    rig = lane_of(tmp_path)
    rig.lane.offer([Invalidation(keys("c"))], clock(), 1)
    assert rig.counts()["pending_unjournaled"] == 1
    rig.lane.turn()
    assert rig.counts()["pending_unjournaled"] == 0
