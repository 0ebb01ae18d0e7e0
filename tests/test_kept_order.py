"""How far an origin and its edge say that they are: who is killed now leaves nothing that nobody would do again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from invalidator import Target
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.tiers import Order
from tests.support.tiers import Fate, Tiers

if TYPE_CHECKING:
    import pytest

A = Target("key", "a")
TARGETS = [A, Target("key", "b"), Target("key", "c")]
DELAY = 0.2


class Kept(RuleBasedStateMachine):
    """What both cursors have passed has been purged at the edge a delay after each origin, as it is at the end."""

    @initialize(origins=st.integers(1, 2), rebound=st.sampled_from([0.0, 1.0]), on_gap=st.booleans())
    def begin(self, origins: int, rebound: float, on_gap: bool) -> None:
        order = Order("objects", DELAY, rebound, patience=2.0)
        self.tiers = Tiers(order, origins, on_gap=on_gap, journal=True)
        self.last: dict[Target, int] = {}

    @rule(wanted=st.lists(st.sampled_from(TARGETS), min_size=1), soft=st.booleans())
    def offer(self, wanted: list[Target], soft: bool) -> None:
        self.tiers.offer(*wanted, soft=soft)
        self.last |= dict.fromkeys(wanted, self.tiers.number)

    @rule()
    def gap(self) -> None:
        self.tiers.gap()
        self.last |= dict.fromkeys(self.last, self.tiers.number)

    @rule(place=st.integers(0, 1))
    def origin_takes(self, place: int) -> None:
        self.tiers.take(place % self.tiers.origins)

    @rule(place=st.integers(0, 1), fate=st.sampled_from(["ok", "ok", "again", "later"]))
    def origin_settles(self, place: int, fate: Fate) -> None:
        self.tiers.settle(place % self.tiers.origins, lambda _: fate)

    @rule(fate=st.sampled_from(["ok", "again"]))
    def edge_changes(self, fate: Fate) -> None:
        self.tiers.edge_fate = lambda _: fate

    @rule(seconds=st.sampled_from([0.1, 0.3, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.tiers.advance(seconds)

    @invariant()
    def leaves_nothing_that_nobody_would_do_again(self) -> None:
        if hasattr(self, "tiers"):
            assert left_behind(self.tiers, self.last) == []


def left_behind(tiers: Tiers, last: dict[Target, int]) -> list[Target]:
    """What has yet to be purged at the edge after an origin, and a successor would not be given any more."""
    kept = min(tiers.edge.kept_through(), tiers.edge.followed_through())
    return [
        target
        for origin in tiers.behind
        for target, at in origin.purged.items()
        if last[target] <= min(kept, origin.pending.kept_through())
        and tiers.asked.get(target, -1.0) < at + DELAY - 1e-9
    ]


Kept.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestKept = Kept.TestCase


def gone_early() -> Tiers:
    """The edge has, and its origin has purged since."""
    tiers = Tiers(Order("objects", DELAY, patience=2.0), journal=True)
    tiers.offer(A)
    tiers.take(0)
    tiers.settle(0, lambda _: "again")
    tiers.advance(3.0)
    assert len(tiers.attempts) == 1
    tiers.take(0)
    tiers.settle(0)
    return tiers


def test_until_the_edge_has_purged_once_more_what_went_early_it_is_given_again() -> None:
    tiers = gone_early()
    assert (tiers.behind[0].pending.kept_through(), tiers.edge.kept_through()) == (1, 1)
    assert (tiers.edge.followed_through(), left_behind(tiers, {A: 1})) == (0, [])
    tiers.advance(1.0)
    assert tiers.edge.followed_through() >= 1
    assert len(tiers.attempts) == 2


def test_an_origin_that_does_not_wait_for_its_edge_would_leave_it_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above, and for the machine.
    monkeypatch.setattr(Ordered, "followed_through", lambda *_: 1 << 60)
    assert left_behind(gone_early(), {A: 1}) == [A]


def test_a_stop_that_hurries_the_second_purge_has_it_given_again() -> None:
    tiers = gone_early()
    tiers.edge.hurry()
    tiers.advance(0.01)
    assert (len(tiers.attempts), len(tiers.edge), tiers.edge.followed_through()) == (2, 0, 0)


def test_a_rebound_of_the_second_purge_is_waited_for_too() -> None:
    tiers = Tiers(Order("objects", 0.0, rebound=1.0, patience=2.0), journal=True)
    tiers.offer(A)
    tiers.take(0)
    tiers.settle(0, lambda _: "again")
    tiers.advance(5.0)
    tiers.take(0)
    tiers.settle(0)
    tiers.advance(0.5)
    assert tiers.edge.followed_through() == 0
    tiers.advance(1.0)
    assert tiers.edge.followed_through() >= 1


def test_what_is_told_to_a_third_is_of_the_same_offer() -> None:
    tiers = Tiers(Order("objects", 0.0, patience=2.0), far_order=Order("edge", 1.0, patience=2.0), journal=True)
    tiers.offer(A)
    tiers.take(0)
    tiers.settle(0, lambda _: "again")
    tiers.advance(10.0)
    tiers.take(0)
    tiers.settle(0)
    tiers.advance(0.1)
    assert tiers.edge.followed_through() >= 1
    assert tiers.far.followed_through() == 0
    tiers.advance(2.0)
    assert tiers.far.followed_through() >= 1
