"""tiers.py and ordered.py: an edge is purged after its origin, a delay later, whatever happens to either."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from invalidator import Target
from invalidator.lanes.tiers import AT_ONCE, Hold, Order
from tests.support.tiers import Fate, Tiers

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = Target("key", "users:a"), Target("key", "users:b")
LATE = Order(after="objects", delay=0.2, patience=10.0)


def failing(_: Target) -> Fate:
    return "again"


def asked(tiers: Tiers) -> list[tuple[float, tuple[str, ...]]]:
    """When the edge was asked for which keys."""
    return [(round(at, 6), batch.keys) for at, batch in tiers.attempts]


def purge_origin(tiers: Tiers, place: int = 0) -> None:
    tiers.take(place)
    tiers.settle(place)


# Order.


def test_a_target_goes_to_the_edge_a_delay_after_its_origin_has_purged_it() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    tiers.advance(1.0)
    assert (asked(tiers), len(tiers.edge)) == ([], 1)
    purge_origin(tiers)
    tiers.advance(1.0)
    assert asked(tiers) == [(1.2, ("users:a",))]


def test_every_server_of_the_origin_is_waited_for() -> None:
    tiers = Tiers(LATE, origins=2)
    tiers.offer(A)
    purge_origin(tiers, 0)
    tiers.advance(1.0)
    purge_origin(tiers, 1)
    tiers.advance(1.0)
    assert asked(tiers) == [(1.2, ("users:a",))]


def test_a_delay_alone_runs_from_the_message() -> None:
    tiers = Tiers(Order(delay=0.5), origins=0)
    tiers.offer(A)
    tiers.advance(1.0)
    assert asked(tiers) == [(0.5, ("users:a",))]


def test_a_target_that_comes_again_while_its_delay_runs_is_purged_for_both() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    purge_origin(tiers)
    tiers.advance(0.1)
    tiers.offer(A)
    purge_origin(tiers)
    tiers.advance(1.0)
    assert asked(tiers) == [(0.2, ("users:a",)), (0.3, ("users:a",))]
    assert tiers.adds_up()


def test_a_target_that_is_invalidated_continuously_is_purged_at_the_edge_once_in_each_delay() -> None:
    tiers = Tiers(LATE)
    for _ in range(100):
        tiers.offer(A)
        tiers.take(0)
        tiers.offer(A)  # it is never settled without being wished for again
        tiers.settle(0)
        tiers.advance(0.05)
    times = [0.0, *(at for at, _ in asked(tiers))]
    assert max(after - before for before, after in pairwise(times)) <= 2 * LATE.delay + 1e-6


def test_a_kind_that_the_origin_lacks_waits_for_the_delay_alone() -> None:
    tiers = Tiers(LATE, origin_kinds=frozenset({"tag"}))
    tiers.offer(A)
    tiers.advance(1.0)
    assert asked(tiers) == [(0.2, ("users:a",))]


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_soft_and_hard_become_one_hard_purge(first: bool, second: bool) -> None:
    tiers = Tiers(LATE)
    tiers.offer(A, soft=first)
    tiers.offer(A, soft=second)
    tiers.finish()
    assert [batch.soft for _, batch in tiers.attempts] == [False]


# Failures.


def test_a_failing_origin_holds_the_edge_for_so_long_and_no_longer_and_then_once_more() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    for _ in range(40):
        tiers.take(0)
        tiers.settle(0, failing)
        tiers.advance(0.5)
    assert asked(tiers) == [(10.2, ("users:a",))]
    tiers.advance(10.0)
    purge_origin(tiers)
    tiers.advance(1.0)
    assert asked(tiers) == [(10.2, ("users:a",)), (30.2, ("users:a",))], "it may have been refilled with what was old"
    assert (tiers.edge.received, len(tiers.edge)) == (2, 0)


@pytest.mark.parametrize("paused", [True, False])
def test_after_a_pause_that_is_longer_than_its_patience_the_edge_still_waits_for_its_origin(*, paused: bool) -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    tiers.now += 60.0
    if paused:
        tiers.edge.resume(tiers.now)
    tiers.advance(0.1)
    assert bool(asked(tiers)) is not paused
    purge_origin(tiers)
    tiers.advance(1.0)
    assert len(asked(tiers)) == (1 if paused else 2), "one that went early goes once more"


def test_what_went_early_goes_once_more_when_the_origins_flush_stands_for_it() -> None:
    tiers = Tiers(LATE, on_gap=False)
    tiers.offer(A)
    tiers.take(0)
    tiers.settle(0, failing)
    tiers.advance(11.0)
    tiers.gap()
    purge_origin(tiers)
    tiers.advance(1.0)
    assert asked(tiers) == [(10.2, ("users:a",)), (11.2, ("users:a",))]


def test_what_went_early_twice_is_remembered_for_every_server_that_owes_it() -> None:
    tiers = Tiers(LATE, origins=2, on_gap=False)
    tiers.offer(A)
    tiers.take(0)
    tiers.gap()
    tiers.offer(A)
    tiers.advance(15.0)
    tiers.settle(0)
    tiers.advance(15.0)
    for place in (0, 1):
        purge_origin(tiers, place)
        tiers.advance(1.0)
    assert [at for at, _ in asked(tiers)] == [10.2, 15.2, 25.2, 30.2, 31.2]


@pytest.mark.parametrize(
    ("on_gap", "scope", "lost"),
    [(True, Target("all"), 0), (True, Target("prefix", "users:"), 1), (False, Target("all"), 1)],
)
def test_more_that_went_early_than_is_remembered_is_flushed_or_counted_as_lost(
    on_gap: bool, scope: Target, lost: int
) -> None:
    tiers = Tiers(LATE, limit=3, on_gap=on_gap, flush=(scope,))
    for names in ("ab", "cd"):
        tiers.offer(*(Target("key", name) for name in names))
        tiers.advance(11.0)
    purge_origin(tiers)  # its flush: it had no room for them all either
    tiers.advance(1.0)
    last = [batch for at, batch in tiers.attempts if at > 22.0]
    assert ({batch.cause for batch in last} >= {"overflow"}) is on_gap
    assert tiers.edge.ends["lost"] == lost
    assert tiers.adds_up()


def test_what_the_origin_gives_up_goes_to_the_edge_all_the_same() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    tiers.take(0)
    tiers.settle(0, lambda _: "dead")
    tiers.advance(1.0)
    assert asked(tiers) == [(0.2, ("users:a",))]


# Flushes.


def test_the_edges_flush_comes_after_the_origins() -> None:
    tiers = Tiers(LATE)
    tiers.gap()
    tiers.advance(3.0)
    assert tiers.attempts == []
    purge_origin(tiers)
    tiers.advance(1.0)
    assert [(round(at, 6), batch.cause) for at, batch in tiers.attempts] == [(3.2, "disconnect")]


def test_the_edges_flush_waits_for_so_long_and_no_longer_and_comes_once_more() -> None:
    tiers = Tiers(LATE)
    tiers.gap()
    tiers.advance(20.0)
    purge_origin(tiers)
    tiers.advance(1.0)
    assert [round(at, 6) for at, batch in tiers.attempts if batch.cause] == [10.2, 20.2]


def test_what_is_held_is_not_covered_by_a_flush_of_the_edge() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    tiers.edge.flush("unsupported", 0.0)
    tiers.advance(1.0)
    purge_origin(tiers)
    tiers.advance(1.0)
    assert [(round(at, 6), batch.keys) for at, batch in tiers.attempts] == [(0.0, ()), (1.2, ("users:a",))]


# Bounds.


def test_what_is_held_counts_and_collapses_to_the_flush() -> None:
    tiers = Tiers(LATE, limit=10)
    tiers.offer(*(Target("key", f"users:{n}") for n in range(25)))
    assert len(tiers.edge) == 25
    assert len(tiers.edge.leftover()) <= 10
    tiers.advance(1.0)
    assert [batch.cause for _, batch in tiers.attempts] == ["overflow"]
    assert tiers.attempts[0][0] == pytest.approx(0.2), "not before what the origin did a moment ago has had its delay"
    assert tiers.adds_up()


def test_what_is_held_and_has_no_flush_is_given_back_above_the_bound() -> None:
    tiers = Tiers(LATE, limit=10, on_gap=False)
    tiers.offer(*(Target("key", f"users:{n}") for n in range(25)))
    assert (tiers.edge.ends["dead"], len(tiers.edge)) == (15, 10)
    assert tiers.adds_up()


def test_a_full_lane_that_waits_is_not_gone_through_for_each_message_that_wakes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = []

    def drop(*_: object) -> list[object]:
        swept.append(1)
        return []

    monkeypatch.setattr(Hold, "drop", drop)
    tiers = Tiers(LATE, limit=10, flush=(Target("tag", "everything"),))
    for n in range(40):
        tiers.offer(Target("key", f"users:{n}"))
        assert tiers.edge.take(tiers.now) is None
    assert len(swept) == 1
    purge_origin(tiers)
    tiers.advance(1.0)
    tiers.offer(*(Target("key", f"users:more:{n}") for n in range(40)))
    assert len(swept) == 2, "there may be something to free again once something was taken"


# Rebound.


def test_a_rebound_purges_once_more_and_is_a_target_of_its_own() -> None:
    tiers = Tiers(Order(rebound=2.0), origins=0)
    tiers.offer(A)
    tiers.advance(10.0)
    assert asked(tiers) == [(0.0, ("users:a",)), (2.0, ("users:a",))]
    assert (tiers.edge.received, tiers.edge.ends["purged"], len(tiers.edge)) == (2, 2, 0)


def test_the_rebound_of_a_target_that_comes_again_is_that_of_its_last_purge() -> None:
    tiers = Tiers(Order(rebound=2.0), origins=0)
    for _ in range(3):
        tiers.offer(A)
        tiers.advance(1.0)
    tiers.advance(10.0)
    assert [at for at, _ in asked(tiers)] == [0.0, 1.0, 2.0, 4.0]
    assert tiers.adds_up()


def test_a_soft_wish_does_not_take_the_place_of_a_hard_rebound() -> None:
    tiers = Tiers(Order(rebound=2.0), origins=0)
    tiers.offer(A)
    tiers.advance(1.0)
    tiers.offer(A, soft=True)
    tiers.advance(10.0)
    assert [(at, batch.soft) for at, batch in tiers.attempts] == [(0.0, False), (1.0, True), (3.0, False)]
    assert tiers.adds_up()


def test_after_delay_and_rebound_go_together() -> None:
    tiers = Tiers(Order(after="objects", delay=0.2, rebound=2.0, patience=10.0))
    tiers.offer(A)
    purge_origin(tiers)
    tiers.advance(10.0)
    assert asked(tiers) == [(0.2, ("users:a",)), (2.2, ("users:a",))]


# The end.


def test_a_stop_purges_what_is_held_and_what_was_to_be_purged_once_more_at_once() -> None:
    tiers = Tiers(Order(after="objects", delay=60.0, rebound=60.0, patience=10.0))
    tiers.offer(A)
    purge_origin(tiers)
    tiers.advance(61.0)
    tiers.offer(B)
    tiers.gap()
    tiers.edge.hurry()
    tiers.advance(0.0)
    assert {batch.cause for _, batch in tiers.attempts[1:]} == {"disconnect"}
    assert (len(tiers.edge), tiers.edge.is_flushing()) == (0, False)
    assert tiers.adds_up()


def test_what_the_origin_says_after_the_stop_is_done_at_once() -> None:
    tiers = Tiers(LATE)
    tiers.offer(A)
    tiers.edge.hurry()
    tiers.advance(0.0)
    purge_origin(tiers)
    tiers.advance(0.0)
    assert [keys for _, keys in asked(tiers)] == [("users:a",), ("users:a",)]


# Everything at once.

NAMES = ["users:a", "users:b", "users:c", "orders:1", "orders:2"]
TARGETS = st.lists(st.sampled_from([Target("key", name) for name in NAMES]), max_size=4, unique=True)
FATES = st.lists(st.sampled_from(["ok", "ok", "again", "dead", "later"]), min_size=5, max_size=5)
FLUSHES = st.sampled_from([(Target("all"),), (Target("prefix", "users:"),)])


def fated(fates: list[Fate]) -> Callable[[Target], Fate]:
    return lambda target: fates[hash(target) % len(fates)]


class AnyOrder(RuleBasedStateMachine):
    """Whatever the origins do: the edge comes last, in bounded time, and everything counts."""

    order = Order(after="objects", delay=0.2, patience=10.0)

    @initialize(
        origins=st.integers(1, 2),
        limit=st.sampled_from([3, 100]),
        flush=FLUSHES,
        origin_flush=FLUSHES,
        on_gap=st.booleans(),
        rebound=st.sampled_from([0.0, 1.0]),
        chain=st.booleans(),
    )
    def begin(
        self,
        origins: int,
        limit: int,
        flush: tuple[Target, ...],
        origin_flush: tuple[Target, ...],
        on_gap: bool,
        rebound: float,
        chain: bool,
    ) -> None:
        order = Order(self.order.after, self.order.delay, rebound, self.order.patience)
        # A lane that has collapsed forgets what was to be purged once more; nobody behind it hears of that.
        far = Order("edge", 0.1, 0.0, 21.0) if chain and not (rebound and limit < 10) else None
        self.tiers = Tiers(order, origins, limit, flush, origin_flush, on_gap, far_order=far)

    @rule(wanted=TARGETS, soft=st.booleans())
    def offer(self, wanted: list[Target], soft: bool) -> None:
        self.tiers.offer(*wanted, soft=soft)

    @rule(place=st.integers(0, 1))
    def take(self, place: int) -> None:
        self.tiers.take(place % self.tiers.origins)

    @rule(place=st.integers(0, 1), fates=FATES)
    def settle(self, place: int, fates: list[Fate]) -> None:
        self.tiers.settle(place % self.tiers.origins, fated(fates))

    @rule(fates=st.lists(st.sampled_from(["ok", "again", "later"]), min_size=5, max_size=5))
    def edge_changes(self, fates: list[Fate]) -> None:
        self.tiers.edge_fate = fated(fates)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 2.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self.tiers.advance(seconds)

    @rule()
    def gap(self) -> None:
        self.tiers.gap()

    @invariant()
    def adds_up(self) -> None:
        if hasattr(self, "tiers"):
            assert self.tiers.adds_up()

    @invariant()
    def is_bounded(self) -> None:
        if hasattr(self, "tiers"):
            assert len(self.tiers.edge.leftover()) <= self.tiers.limit

    def teardown(self) -> None:
        if hasattr(self, "tiers"):
            self.tiers.finish()
            self.adds_up()
            ends = [lane.ends for lane in (self.tiers.edge, self.tiers.far)]
            if not any(each["dead"] or each["lost"] for each in ends):
                assert self.tiers.too_early() == {}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_without_an_order_the_edge_is_purged_before_its_origin() -> None:
    # The control for what is asserted above of any order.
    tiers = Tiers(AT_ONCE, told=False)
    tiers.offer(A)
    tiers.advance(1.0)
    purge_origin(tiers)
    tiers.finish()
    assert set(tiers.too_early()) == {A}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), TARGETS),
        st.tuples(st.just("ask"), st.integers(0, 1)),
        st.tuples(st.just("answer"), FATES),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 0.3, 2.0, 15.0])),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, origins=st.integers(1, 2))
def test_no_target_is_kept_from_the_edge_for_longer_than_the_bound(steps: list[tuple[str, Any]], origins: int) -> None:
    tiers = Tiers(LATE, origins)
    waiting: dict[Target, float] = {}
    for step in [*steps, ("wait", 15.0)]:
        match step:
            case ("offer", targets):
                tiers.offer(*targets)
                waiting = dict.fromkeys(targets, tiers.now) | waiting
            case ("ask", place):
                tiers.take(place % origins)
            case ("answer", fates):
                for place in range(origins):
                    tiers.settle(place, fated(fates))
            case ("wait", seconds):
                tiers.advance(seconds)
        waiting = {target: since for target, since in waiting.items() if tiers.asked.get(target, -1.0) < since}
        for since in waiting.values():
            assert tiers.now - since <= LATE.patience + LATE.delay + 1e-6
    assert not waiting


def test_what_is_due_at_the_same_time_goes_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever reads from Redis waits for this lane's lock meanwhile.
    monkeypatch.setattr("invalidator.lanes.ordered.RELEASED_AT_ONCE", 10)
    tiers = Tiers(Order(delay=0.5), origins=0)
    tiers.offer(*(Target("key", f"users:{n}") for n in range(95)))
    tiers.advance(1.0)
    sizes = [len(batch.keys) for _, batch in tiers.attempts]
    assert sum(sizes) == 95
    assert max(sizes) <= 20
