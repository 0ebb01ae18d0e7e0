"""coalescer.py: what a lane still has to purge."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invalidator.backend import targets_of
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.pace import (
    ATTEMPT_SECONDS,
    FLUSH_SECONDS,
    LARGEST_BATCH,
    RETRY_LONGEST,
    Retry,
    next_batch_size,
)
from invalidator.lanes.policy import Policy
from invalidator.lanes.wishes import covers
from invalidator.messages import Batch, Failure, PurgeResult, Target

ALL = (Target("all"),)


def pending(flush: tuple[Target, ...] = ALL, *, on_gap: bool = True, window: float = 0.0, limit: int = 100) -> Pending:
    return Pending(Policy("w", "b", flush=flush, on_gap=on_gap, window=window, limit=limit), chance=lambda: 0.5)


def keys(*names: str) -> list[Target]:
    return [Target("key", name) for name in names]


def take(lane: Pending, now: float) -> Batch:
    batch = lane.take(now)
    assert batch is not None
    return batch


def test_what_arrives_while_the_backend_is_busy_is_one_batch_of_distinct_targets() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    first = take(lane, 0.0)
    lane.add(keys("b", "c", "b"), soft=False, ts=None, now=0.1)

    assert lane.take(0.1) is None, "one batch at a time"
    lane.settle(first, PurgeResult(), 0.2)
    assert take(lane, 0.2).keys == ("b", "c")
    assert lane.ends["coalesced"] == 1


def test_a_target_that_comes_again_while_it_is_in_flight_is_purged_again() -> None:
    # The purge under way may have been done before the value was filled in that the second message is about.
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    first = take(lane, 0.0)
    lane.add(keys("a"), soft=False, ts=None, now=0.1)
    lane.settle(first, PurgeResult(), 0.2)

    assert take(lane, 0.2).keys == ("a",)


def test_an_idle_lane_waits_for_nothing_and_a_window_is_waited_for() -> None:
    prompt, patient = pending(), pending(window=0.05)
    for lane in (prompt, patient):
        lane.add(keys("a"), soft=False, ts=None, now=1.0)

    assert prompt.take(1.0) is not None
    assert patient.take(1.0) is None
    assert 0.04 < patient.next_due(1.0) < 0.06
    assert patient.take(1.06) is not None


def test_what_gathers_is_not_overdue_and_what_failed_is() -> None:
    lane = pending(window=0.05)
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    gathering = lane.is_overdue()
    lane.settle(take(lane, 1.0), PurgeResult((Failure(Target("key", "a"), "error"),)), 1.0)
    failed = lane.is_overdue()
    lane.settle(take(lane, 2.0), PurgeResult(), 2.0)

    assert (gathering, failed, lane.is_overdue()) == (False, True, False)


def test_removing_replaces_marking_as_stale_and_not_the_other_way_round() -> None:
    lane = pending()
    lane.add(keys("a", "b"), soft=True, ts=None, now=0.0)
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    lane.add(keys("a"), soft=True, ts=None, now=0.0)

    hard = take(lane, 0.0)
    lane.settle(hard, PurgeResult(), 0.0)
    soft = take(lane, 0.0)

    assert (hard.keys, hard.soft) == (("a",), False)
    assert (soft.keys, soft.soft) == (("b",), True)


def test_a_backend_that_fails_is_asked_again_after_a_growing_wait_and_nothing_is_lost() -> None:
    lane = pending()
    lane.add(keys("a", "b"), soft=False, ts=None, now=0.0)
    now, waits = 0.0, []
    for _ in range(10):
        batch = take(lane, now)
        assert set(batch.keys) == {"a", "b"}
        lane.settle(batch, PurgeResult(tuple(Failure(target, "timeout") for target in targets_of(batch))), now)
        assert lane.take(now) is None
        waits.append(lane.next_due(now))
        now += waits[-1]

    assert waits == sorted(waits)
    assert waits[-1] <= RETRY_LONGEST
    assert lane.settle(take(lane, now), PurgeResult(), now) == []
    assert lane.ends["purged"] == 2


def test_one_target_that_fails_does_not_hold_up_the_others() -> None:
    lane = pending()
    lane.add(keys("bad", "good"), soft=False, ts=None, now=0.0)
    lane.settle(take(lane, 0.0), PurgeResult((Failure(Target("key", "bad"), "server_error"),)), 0.0)
    lane.add(keys("next"), soft=False, ts=None, now=0.0)

    assert take(lane, 0.0).keys == ("next",)


def test_a_server_that_names_a_time_is_not_asked_before_it() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    result = PurgeResult((Failure(Target("key", "a"), "rate_limited"),), retry_after=20.0)
    lane.settle(take(lane, 0.0), result, 0.0)

    assert lane.take(19.9) is None
    assert lane.take(20.0) is not None


def test_poison_ends_as_dead_and_is_not_tried_again() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    lane.settle(take(lane, 0.0), PurgeResult((Failure(Target("key", "a"), "rejected", retry=False),)), 0.0)

    assert lane.ends["dead"] == 1
    assert len(lane) == 0


def test_above_its_bound_a_lane_collapses_to_its_flush() -> None:
    lane = pending(flush=(Target("prefix", "users:"),), limit=10)
    homeless = lane.add(keys(*(f"users:{n}" for n in range(25))), soft=False, ts=None, now=0.0)
    flush = take(lane, 0.0)
    lane.settle(flush, PurgeResult(), 0.0)

    assert homeless == []
    assert (flush.prefixes, flush.cause) == (("users:",), "overflow")
    assert lane.ends["flushed"] == 25
    assert len(lane) == 0


def test_a_flush_stands_for_what_it_covers_and_for_nothing_else() -> None:
    lane = pending(flush=(Target("prefix", "users:"),), limit=10)
    homeless = lane.add(
        [*keys(*(f"orders:{n}" for n in range(8))), *keys(*(f"users:{n}" for n in range(8))), *keys("orders:9")],
        soft=False,
        ts=None,
        now=0.0,
    )
    more = lane.add(keys(*(f"orders:{n}" for n in range(10, 20))), soft=False, ts=None, now=0.0)
    lane.end("dead", len(homeless) + len(more))
    lane.settle(take(lane, 0.0), PurgeResult(), 0.0)

    assert lane.ends["flushed"] == 8
    assert all(target.value.startswith("orders:") for target in [*homeless, *more])
    assert lane.received == 27 == sum(lane.ends.values()) + len(lane)


def test_above_its_bound_a_lane_that_may_not_flush_gives_targets_back_to_be_accounted_for() -> None:
    lane = pending(on_gap=False, limit=10)
    homeless = lane.add(keys(*"abcdefghijklmno"), soft=False, ts=None, now=0.0)
    lane.end("dead", len(homeless))

    assert len(homeless) == 5
    assert lane.received == len(lane) + lane.ends["dead"]


def test_a_flush_takes_the_place_of_what_it_covers_and_of_nothing_else() -> None:
    lane = pending(flush=(Target("prefix", "users:"),))
    lane.add([*keys("users:1", "orders:1"), Target("prefix", "users:x")], soft=False, ts=None, now=0.0)
    lane.flush("disconnect", 0.0)

    lane.settle(take(lane, 0.0), PurgeResult(), 0.0)

    assert lane.ends["flushed"] == 2
    assert take(lane, 0.0).keys == ("orders:1",)


def test_a_flush_that_fails_is_tried_until_it_is_done() -> None:
    lane = pending()
    lane.flush("start", 0.0)
    lane.settle(take(lane, 0.0), PurgeResult((Failure(Target("all"), "unreachable"),)), 0.0)

    assert lane.is_flushing()
    assert lane.failures == 1
    lane.settle(take(lane, lane.next_due(0.0)), PurgeResult(), 1.0)
    assert not lane.is_flushing()


def test_soft_and_hard_wishes_take_turns() -> None:
    lane = pending()
    lane.add(keys("soft"), soft=True, ts=None, now=0.0)
    for number in range(5):
        lane.add(keys(f"hard{number}"), soft=False, ts=None, now=0.0)
        batch = take(lane, 0.0)
        lane.settle(batch, PurgeResult(), 0.0)

    assert lane.ends["purged"] == 6, "one of the five batches was the soft one, and two hard ones went together"


def test_flushes_and_targets_take_turns() -> None:
    lane = pending(flush=(Target("prefix", "users:"),))
    lane.add(keys("orders:1"), soft=False, ts=None, now=0.0)
    causes = []
    for _ in range(3):
        lane.widen([Target("tag", "t")], soft=False, now=0.0)
        batch = take(lane, 0.0)
        causes.append(batch.cause)
        lane.settle(batch, PurgeResult(), 0.0)

    assert causes == ["unsupported", "", "unsupported"]


def test_a_softer_wish_that_a_retry_takes_the_place_of_is_counted() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    flight = take(lane, 0.0)
    lane.add(keys("a"), soft=True, ts=None, now=0.0)
    lane.settle(flight, PurgeResult((Failure(Target("key", "a"), "timeout"),)), 0.0)
    batch = take(lane, lane.next_due(0.0))

    assert (batch.keys, batch.soft) == (("a",), False)
    assert lane.received == sum(lane.ends.values()) + len(lane)


def test_what_could_not_be_dead_lettered_is_lost() -> None:
    lane = pending()
    lane.add(keys("a", "b"), soft=False, ts=None, now=0.0)
    batch = take(lane, 0.0)
    result = PurgeResult(tuple(Failure(target, "rejected", retry=False) for target in targets_of(batch)))

    assert lane.poison(result) == {Target("key", "a"): "rejected", Target("key", "b"): "rejected"}
    lane.settle(batch, result, 0.0, unkept=1)
    assert (lane.ends["dead"], lane.ends["lost"]) == (1, 1)


def test_the_publishers_oldest_time_is_kept_for_a_target_that_came_twice() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=10.0, now=0.0)
    lane.add(keys("a"), soft=False, ts=20.0, now=0.0)

    assert lane.settle(take(lane, 0.0), PurgeResult(), 0.0) == [10.0]


def test_a_wish_covers_what_it_contains() -> None:
    prefix = Target("prefix", "users:")
    assert covers(prefix, Target("key", "users:1"))
    assert covers(prefix, Target("prefix", "users:x:"))
    assert not covers(prefix, Target("key", "user"))
    assert not covers(prefix, Target("tag", "users:1"))
    assert covers(Target("all"), Target("tag", "t"))
    assert covers(Target("tag", "t"), Target("tag", "t"))
    assert not covers(Target("tag", "t"), Target("tag", "u"))


def test_batches_shrink_for_a_slow_backend_and_grow_for_a_quick_one() -> None:
    assert next_batch_size(1000, asked=1000, seconds=ATTEMPT_SECONDS) == 500
    assert next_batch_size(1, asked=1, seconds=ATTEMPT_SECONDS) == 1
    assert next_batch_size(1000, asked=1000, seconds=0.01) == 2000
    assert next_batch_size(1000, asked=10, seconds=0.01) == 1000
    assert next_batch_size(LARGEST_BATCH, asked=LARGEST_BATCH, seconds=0.01) == LARGEST_BATCH


def test_a_flush_that_takes_long_says_nothing_about_the_size_of_a_batch() -> None:
    lane = pending()
    lane.flush("start", 0.0)
    flush = take(lane, 0.0)
    before = lane.pace.batch_size
    lane.settle(flush, PurgeResult(), 29.0)

    assert flush.deadline == FLUSH_SECONDS
    assert lane.pace.batch_size == before


def test_a_retry_after_of_a_year_is_five_minutes() -> None:
    retry = Retry(lambda: 0.5)
    retry.failed(0.0, retry_after=3e7)
    assert retry.due == 300.0


class Conservation(RuleBasedStateMachine):
    """Whatever happens to a lane: targets received are the sum of their ends and of what is pending."""

    @initialize(on_gap=st.booleans(), limit=st.integers(1, 8))
    def begin(self, on_gap: bool, limit: int) -> None:
        self.lane = pending(flush=(Target("prefix", "k"),), on_gap=on_gap, limit=limit)
        self.now = 0.0
        self.flight: Batch | None = None

    @rule(names=st.lists(st.sampled_from(["k1", "k2", "k3", "x1", "x2", "x3", "x4"])), soft=st.booleans())
    def add(self, names: list[str], soft: bool) -> None:
        homeless = self.lane.add(keys(*names), soft=soft, ts=None, now=self.now)
        self.lane.end("lost", len(homeless))

    @rule(count=st.integers(0, 3))
    def of_an_unknown_kind(self, count: int) -> None:
        self.lane.skip(count)
        self.lane.widen([Target("tag", "t")] * count, soft=False, now=self.now)

    @rule(delay=st.floats(0, 2))
    def gap(self, delay: float) -> None:
        self.lane.flush("disconnect", self.now + delay)

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.flight is None)
    @rule()
    def take(self) -> None:
        self.flight = self.lane.take(self.now)

    @precondition(lambda self: self.flight is not None)
    @rule(fate=st.lists(st.sampled_from(["ok", "again", "dead", "later"]), min_size=8, max_size=8))
    def settle(self, fate: list[str]) -> None:
        assert self.flight is not None
        failures = [
            Failure(target, "error", retry=word == "again")
            for target, word in zip(targets_of(self.flight), fate, strict=False)
            if word in {"again", "dead"}
        ]
        later = [t for t, word in zip(targets_of(self.flight), fate, strict=False) if word == "later"]
        self.lane.settle(self.flight, PurgeResult(tuple(failures), deferred=tuple(later)), self.now)
        self.flight = None

    @rule()
    def stop(self) -> None:
        self.lane.hurry()

    @invariant()
    def adds_up(self) -> None:
        assert self.lane.received == sum(self.lane.ends.values()) + len(self.lane)

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.lane.leftover()) <= self.lane.policy.limit

    def teardown(self) -> None:
        if hasattr(self, "lane"):
            self.lane.end("lost", len(self.lane.abandon()))
            self.adds_up()
            assert self.lane.leftover() == []


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
