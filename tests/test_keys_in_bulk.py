"""Many keys at once: a lane, its accounts and its budgets do the same with them as with each."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import Failure, Invalidation, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.admission import offer
from invalidator.lanes.budget import Budgets
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import Order
from invalidator.messages import Keys
from invalidator.slots import PURGE_BOUNDS, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


OFFER = st.tuples(
    st.lists(st.sampled_from(["k1", "k2", "k3", "k4", "x1", "x2"]), max_size=8),
    st.booleans(),
    st.sampled_from([None, 1.0, 2.0]),
)
FATE = st.lists(st.sampled_from(["ok", "ok", "ok", "again", "dead", "later"]), min_size=8, max_size=8)
STEP = st.one_of(
    st.tuples(st.just("offer"), OFFER),
    st.tuples(st.just("offer"), OFFER),
    st.tuples(st.just("take"), st.just(None)),
    st.tuples(st.just("settle"), st.one_of(st.just(["ok"] * 8), FATE)),
    st.tuples(st.just("flush"), st.just(None)),
    st.tuples(st.just("time"), st.floats(0, 5)),
)


def as_keys(names: Sequence[str]) -> list[Any]:
    return [Keys(names)]


def as_targets(names: Sequence[str]) -> list[Any]:
    return [tuple(Target("key", name) for name in names)]


def as_messages(names: Sequence[str]) -> list[Any]:
    return [(Target("key", name),) for name in names]


def lane_after(
    make: Callable[[], Pending], steps: Sequence[tuple[str, Any]], said: Callable[[Sequence[str]], list[Any]]
) -> list[object]:
    """All that one may see of a lane while these happen to it; `said` makes of keys what messages ask for."""
    lane, now = make(), 0.0
    seen: list[object] = []
    flight: Any = None
    for number, (what, how) in enumerate(steps, 1):
        if what == "offer":
            names, soft, ts = how
            lane.heard = number
            invalidations = [Invalidation(targets, soft=soft, ts=ts) for targets in said(names)]
            homeless = [target for one in invalidations for target in offer(lane, one, now)]
            lane.end("lost", len(homeless))
            seen.append(tuple(homeless))
        elif what == "take" and flight is None:
            flight = lane.take(now)
            seen.append(flight)
        elif what == "settle" and flight is not None:
            asked = list(zip(targets_of(flight), how * 20, strict=False))
            failures = tuple(Failure(t, "error", retry=f == "again") for t, f in asked if f in {"again", "dead"})
            result = lane.judge(PurgeResult(failures, deferred=tuple(t for t, f in asked if f == "later")), now)
            seen += [lane.poison(result), lane.settle(flight, result, now)]
            flight = None
        elif what == "flush":
            lane.heard = number
            lane.gap("disconnect", now)
        elif what == "time":
            now += how
        seen.append((lane.received, dict(lane.ends), len(lane), sorted(lane.leftover(), key=repr), lane.next_due(now)))
        seen.append((lane.settled_through(), lane.kept_through(), lane.in_flight(), lane.is_overdue()))
        assert lane.received == sum(lane.ends.values()) + len(lane)
    return seen


@pytest.mark.parametrize("order", [Order(), Order(rebound=1.0), Order(delay=0.5)], ids=["at once", "rebound", "delay"])
@given(steps=st.lists(STEP, max_size=30), limit=st.integers(1, 8), on_gap=st.booleans(), journal=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_lane_does_the_same_with_keys_as_with_their_targets(
    order: Order, steps: list[tuple[str, Any]], limit: int, on_gap: bool, journal: bool
) -> None:
    policy = Policy("w", "b", flush=(Target("prefix", "k"),), on_gap=on_gap, limit=limit, journal=journal, order=order)

    def make() -> Pending:
        return (Pending if order == Order() else Ordered)(policy, lambda: 0.5)

    assert (
        lane_after(make, steps, as_keys) == lane_after(make, steps, as_targets) == lane_after(make, steps, as_messages)
    )


@pytest.mark.parametrize("said", [as_keys, as_targets, as_messages])
def test_in_a_full_lane_a_key_that_comes_again_takes_the_room_of_its_own_rebound(
    said: Callable[[Sequence[str]], list[Any]],
) -> None:
    lane, names = Ordered(Policy("w", "b", limit=3, order=Order(rebound=1.0)), lambda: 0.5), ["a", "b", "c"]
    seen = lane_after(
        lambda: lane,
        [("offer", (names, False, None)), ("take", None), ("settle", ["ok"] * 8), ("offer", (names, False, None))],
        said,
    )
    assert (lane.ends["lost"], lane.ends["coalesced"]) == (1, 3), "all three would be, with all of them looked at first"
    assert seen


def test_keys_are_gathered_from_the_first_one_on() -> None:
    lane = Pending(Policy("w", "b", window=1.0), lambda: 0.5)
    offer(lane, Invalidation(Keys(["a"])), 5.0)
    offer(lane, Invalidation(Keys(["b"])), 5.5)
    assert (lane.next_due(5.5), lane.next_due(6.0)) == (0.5, 0.0)


def test_a_key_that_is_to_be_tried_again_is_pending_once_however_it_comes_again() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    again = [("offer", (["a"], False, None)), ("take", None), ("settle", ["again"]), ("offer", (["a"], False, None))]
    lane_after(lambda: lane, again, as_keys)
    assert (len(lane), lane.ends["coalesced"]) == (1, 1)


@pytest.mark.parametrize(("order", "limit"), [(Order(), 9), (Order(), 2), (Order(rebound=1.0), 9)])
def test_the_time_that_each_message_says_stays_with_its_key_where_a_lane_takes_them_one_by_one(
    order: Order, limit: int
) -> None:
    lane = (Pending if order == Order() else Ordered)(Policy("w", "b", limit=limit, order=order), lambda: 0.5)
    offer(lane, Invalidation(Keys(["a", "b", "a"], [1.0, 2.0, 3.0])), 0.0)
    assert [(target.value, stamp.ts) for target, stamp in lane.leftover()] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize("times", [[], [1.0, None]])
@pytest.mark.parametrize(("widen", "counts"), [(False, (2, 2, 0)), (True, (2, 0, 2))])
def test_keys_are_nothing_to_a_lane_that_cannot_purge_them_but_its_flush_if_so_wished(
    times: list[float | None], widen: bool, counts: tuple[int, ...]
) -> None:
    policy = Policy("w", "b", kinds=frozenset({"tag", "all"}), flush=(Target("all"),), widen=widen)
    lane = Pending(policy, lambda: 0.5)
    offer(lane, Invalidation(Keys(["a", "b"], times)), 0.0)
    assert (lane.received, lane.ends["skipped"], len(lane)) == counts
    assert not lane.leftover()


class Word(str):
    """What the `decode` hook of a plugin may name a key by."""

    __slots__ = ()


def test_a_key_whose_name_is_a_text_of_a_kind_of_its_own_is_purged_as_any() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    offer(lane, Invalidation((Target("key", Word("a")), Target("tag", Word("t")), Target("key", "b"))), 0.0)
    assert type(lane.leftover()[0][0].value) is Word
    batch = lane.take(0.0)
    assert batch
    assert (batch.keys, batch.tags) == (("a", "b"), ("t",))


def test_a_key_that_is_wished_for_keeps_its_oldest_stamp_and_one_that_was_soft_becomes_hard() -> None:
    for times in ((), (1.0,)):
        lane = Pending(Policy("w", "b"), lambda: 0.5)
        for lane.heard in (1, 2):
            offer(lane, Invalidation(Keys(["a"], times)), 0.0)
        assert [stamp.number for _, stamp in lane.leftover()] == [1]
        offer(lane, Invalidation((Target("key", "b"),), soft=True), 0.0)
        offer(lane, Invalidation(Keys(["b"], times)), 0.0)
        assert (len(lane), lane.received, lane.ends["coalesced"]) == (2, 4, 2)


DURATION = st.one_of(
    st.sampled_from([*PURGE_BOUNDS, 0.0, -0.0, -5.0, 3600.0, 1e308, -1e308, float("inf"), float("nan")]),
    st.floats(0, 100),
)


@given(st.lists(DURATION, max_size=8))
def test_durations_that_are_observed_together_are_in_the_buckets_of_each(durations: list[float]) -> None:
    together, apart = Region(["b"]), Region(["b"])
    together.backend("b").add({}, propagation=iter(durations))
    slots = apart.backend("b")
    for duration in durations:
        slots.add({}, propagation=[duration])
    one, other = together.snapshot().backends["b"], apart.snapshot().backends["b"]
    rounded = len(durations) + 1e-9 * other["propagation:sum_ns"]
    assert abs(one.pop("propagation:sum_ns") - other.pop("propagation:sum_ns")) <= rounded
    assert {**one, "version": 0} == {**other, "version": 0}
    for seconds in (duration for duration in durations if 0 <= duration <= PURGE_BOUNDS[-1]):
        assert one[f"propagation:{PURGE_BOUNDS[bisect_left(PURGE_BOUNDS, seconds)]:g}"] > 0


def test_what_was_purged_after_a_failure_has_its_whole_budget_again() -> None:
    budgets, a = Budgets(), Target("key", "a")
    budgets.judge(PurgeResult((Failure(a, "error"),)), ["a", "b"], 0.0)
    assert len(budgets) == 1
    budgets.judge(PurgeResult(), ["a"], 1.0)
    assert len(budgets) == 0
