"""immediate.py: plain keys that are in flight at once end as those that were taken in, and out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from invalidator import Failure, Invalidation, PurgeResult, Target
from invalidator.lanes.admission import admit
from invalidator.lanes.immediate import Immediate
from invalidator.lanes.policy import Policy
from invalidator.messages import Keys
from tests.support.lanes import Rig
from tests.support.sending import GOOD, Sending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
STEP = st.one_of(
    NAMES.map(lambda names: ("keys", names)),
    NAMES.map(lambda names: ("times", names)),
    NAMES.map(lambda names: ("soft", names)),
    st.sampled_from([("answer", "ok"), ("answer", "again"), ("answer", "later"), ("flush", ""), ("wait", "")]),
)


def message(kind: str, names: Sequence[str]) -> Invalidation:
    times = [float(number) for number, _ in enumerate(names)] if kind == "times" else ()
    return Invalidation(Keys(names, times), soft=kind == "soft", ts=7.0)


def answer(how: str, asked: Sequence[str]) -> PurgeResult:
    targets = tuple(Target("key", name) for name in asked)
    if how == "again":
        return PurgeResult(tuple(Failure(target, "timeout") for target in targets[:1]))
    return PurgeResult(deferred=targets if how == "later" else ())


def life(steps: Sequence[tuple[str, Any]], limit: int, *, at_once: bool) -> tuple[list[Any], int]:
    """All that a lane has asked for and counted, and how often that was at once."""
    lane = Immediate(Policy("w", "b", limit=limit, on_gap=True, flush=(Target("all"),)), lambda: 0.5)
    seen: list[Any] = []
    now, asked, hits = 100.0, None, 0
    for kind, what in steps:
        lane.heard += 1
        batch = None
        if kind in ("keys", "times", "soft"):
            offer = [message(kind, what)]
            batch = lane.take_at_once(offer, now) if at_once else None
            hits += batch is not None
            if batch is None:
                admit(lane, offer, now)
        elif kind == "answer" and asked:
            result = lane.judge(answer(what, asked.keys), now)
            seen.append(lane.settle(asked, result, now))
            asked = None
        elif kind == "flush":
            lane.flush("disconnect", now, lane.heard)
        elif kind == "wait":
            now += 10.0
        batch = batch or lane.take(now)
        asked = batch or asked
        counted = (lane.received, dict(lane.ends), len(lane), lane.settled_through(), lane.next_due(now))
        seen += [batch, counted, sorted(lane.leftover(), key=repr)]
    return seen, hits


@example([("keys", ["a"]), ("keys", ["b"]), ("soft", ["a"]), ("answer", "ok")], 100)
@settings(max_examples=200)
@given(st.lists(STEP, max_size=20), st.sampled_from([2, 100]))
def test_whatever_came_before_it_makes_no_difference_but_in_time(steps: list[tuple[str, Any]], limit: int) -> None:
    slowly, never = life(steps, limit, at_once=False)
    quickly, _ = life(steps, limit, at_once=True)
    assert quickly == slowly
    assert never == 0


def test_a_lane_at_rest_takes_keys_at_once_and_one_that_has_something_else_to_do_takes_them_in() -> None:
    # The control for the property: that there are both.
    steps = [("keys", ["a", "a"]), ("keys", ["b"]), ("answer", "ok"), ("answer", "ok"), ("times", ["c"])]
    assert life(steps, 100, at_once=True)[1] == 2
    assert life([("soft", ["a"])], 100, at_once=True)[1] == 0
    assert life([("keys", ["a", "b", "c"])], 2, at_once=True)[1] == 0
    assert life([("flush", ""), ("keys", ["a"])], 100, at_once=True)[1] == 0


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy("w", "b", window=1.0), Invalidation(Keys(["a"]))),
        (Policy("w", "b", journal=True), Invalidation(Keys(["a"]))),
        (Policy("w", "b"), Invalidation(Keys(["a"]), journal="1-1")),
        (Policy("w", "b"), Invalidation(Keys(["a"]), reply="invalidator:reply:1")),
        (Policy("w", "b"), Invalidation((Target("key", "a"),))),
        (Policy("w", "b", kinds=frozenset({"tag"})), Invalidation(Keys(["a"]))),
    ],
)
def test_what_has_to_be_looked_at_is_taken_in(policy: Policy, said: Invalidation) -> None:
    assert Immediate(policy, lambda: 0.5).take_at_once([said], 0.0) is None
    assert Immediate(Policy("w", "b"), lambda: 0.5).take_at_once([Invalidation(Keys(["a"]))], 0.0) is not None


def test_a_direct_lane_has_sent_what_it_was_offered_before_its_turn(tmp_path: Path) -> None:
    backend = Sending()
    rig = Rig(backend, tmp_path).start()
    rig.offer_in_bulk("a", "b", "a")
    assert [sent.batch.keys for sent in backend.sent] == [("a", "b")]
    rig.offer_in_bulk("c")
    rig.lane.pause()
    backend.sent[0].say(GOOD)
    rig.lane.turn()
    assert (rig.ended("purged"), rig.ended("coalesced"), len(backend.sent)) == (2, 1, 1)
    rig.offer_in_bulk("d")
    assert len(backend.sent) == 1, "it is paused"
    rig.lane.resume()
    rig.lane.turn()
    assert [set(sent.batch.keys) for sent in backend.sent[1:]] == [{"c", "d"}]
    backend.sent[1].say(GOOD)
    rig.lane.turn()
    assert (rig.ended("purged"), rig.adds_up(), rig.stop()) == (4, True, 0)


def test_a_backend_that_wants_a_rest_or_takes_less_is_not_hurried() -> None:
    for resting, size, taken in ((0.0, 2, True), (5.0, 2, False), (0.0, 1, False)):
        lane = Immediate(Policy("w", "b"), lambda: 0.5)
        lane.pace.deferred_until, lane.pace.batch_size = resting, size
        assert (lane.take_at_once([Invalidation(Keys(["a", "b"]))], 1.0) is not None) == taken
