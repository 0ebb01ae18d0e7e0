"""breaker.py, and what one sees of it: a backend that fails each time is asked for little, and seldom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.breaker import OPENS_AFTER, PROBE_SIZE, Breaker
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.pace import RETRY_LONGEST, Retry
from invalidator.lanes.policy import Policy
from invalidator.slots import Region
from invalidator.supervision.metrics import Totals
from tests.support.lanes import Inline, Rig

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator import Batch


def failing(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(target, "timeout", detail="no answer") for target in targets_of(batch)))


def open_lane(count: int = 100) -> tuple[Pending, float]:
    """A lane with so many targets whose breaker has just opened, and the time."""
    lane = Pending(Policy("w", "b"), chance=lambda: 0.5)
    lane.add([Target("key", str(n)) for n in range(count)], soft=False, ts=None, now=0.0)
    now = 0.0
    for _ in range(OPENS_AFTER):
        assert lane.breaker.state == "closed"
        now += lane.next_due(now)
        batch = lane.take(now)
        assert batch is not None
        lane.settle(batch, failing(batch), now)
    return lane, now


def test_it_opens_after_some_failures_in_a_row_and_lets_nothing_through_until_a_probe_is_due() -> None:
    lane, now = open_lane()
    assert (lane.breaker.state, lane.breaker.opened) == ("open", now)
    assert lane.take(now) is None
    due = lane.next_due(now)
    assert 0 < due <= RETRY_LONGEST
    assert lane.take(now + due) is not None


def test_a_probe_has_few_targets_and_its_success_closes() -> None:
    lane, now = open_lane()
    now += lane.next_due(now)
    probe = lane.take(now)
    assert probe is not None
    assert (len(probe.keys), lane.breaker.state) == (PROBE_SIZE, "half-open")
    lane.settle(probe, PurgeResult(), now)
    assert (lane.breaker.state, lane.breaker.opened) == ("closed", None)
    batch = lane.take(now)
    assert batch is not None
    assert len(batch.keys) == 100 - PROBE_SIZE, "all that is left, at once"


def test_a_breaker_that_never_opens_asks_for_everything_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above.
    monkeypatch.setattr("invalidator.lanes.breaker.OPENS_AFTER", 1_000)
    lane, now = open_lane()
    batch = lane.take(now + lane.next_due(now))
    assert batch is not None
    assert len(batch.keys) == 100


def test_a_probe_that_fails_leaves_it_open_since_the_same_time() -> None:
    lane, opened = open_lane()
    now = opened
    for _ in range(5):
        now += lane.next_due(now)
        probe = lane.take(now)
        assert probe is not None
        lane.settle(probe, failing(probe), now)
        assert (lane.breaker.state, lane.breaker.opened) == ("open", opened)


def test_targets_that_always_fail_do_not_keep_the_others_from_being_the_probe() -> None:
    lane, now = open_lane(PROBE_SIZE)
    lane.add([Target("key", "good")], soft=False, ts=None, now=now)
    for _ in range(3):
        now += lane.next_due(now)
        batch = lane.take(now)
        assert batch is not None
        bad = tuple(Failure(target, "timeout") for target in targets_of(batch) if target.value != "good")
        lane.settle(batch, PurgeResult(bad), now)
    assert lane.ends["purged"] == 1


def test_a_probe_that_was_put_off_decides_nothing() -> None:
    lane, now = open_lane()
    now += lane.next_due(now)
    probe = lane.take(now)
    assert probe is not None
    lane.settle(probe, PurgeResult(deferred=tuple(targets_of(probe)), retry_after=1.0), now)
    assert (lane.breaker.state, lane.failures) == ("open", OPENS_AFTER)


@given(st.lists(st.sampled_from(["asked", "failed", "succeeded", "undecided"])))
def test_it_is_closed_exactly_while_fewer_have_failed_in_a_row(steps: list[str]) -> None:
    breaker, row = Breaker(Retry(lambda: 0.5)), 0
    for now, step in enumerate(steps):
        match step:
            case "asked":
                breaker.asked()
            case "failed":
                breaker.failed(now)
                row += 1
            case "succeeded":
                breaker.succeeded()
                row = 0
            case "undecided":
                breaker.undecided()
        assert (breaker.state == "closed") == (breaker.opened is None) == (row < OPENS_AFTER)


# What one sees.


def fail(rig: Rig, times: int) -> None:
    for _ in range(times):
        rig.pending.pace.hurry()
        rig.lane.turn()


def test_the_supervisor_sees_when_it_opened_and_that_it_closed(tmp_path: Path) -> None:
    rig = Rig(Inline(failing), tmp_path)
    rig.offer("a")
    fail(rig, OPENS_AFTER - 1)
    assert (rig.lane.describe().breaker, rig.lane.describe().breaker_since) == ("closed", 0.0)
    began = time.time()
    fail(rig, 1)
    state = rig.lane.describe()
    assert (state.breaker, state.reason, state.detail, state.pending) == ("open", "timeout", "no answer", 1)
    assert began - 1 < state.breaker_since < time.time() + 1
    assert state.failed_at >= state.breaker_since

    rig.backend.answer = lambda _: PurgeResult()
    fail(rig, 1)
    state = rig.lane.describe()
    assert (state.breaker, state.breaker_since, state.pending) == ("closed", 0.0, 0)
    assert state.purged_at >= state.failed_at > 0
    assert rig.counts()["last_purge_ns"] / 1e9 == pytest.approx(state.purged_at)


def test_the_last_purge_is_remembered_beyond_its_worker() -> None:
    dead, live = Region(["edge"]), Region(["edge"])
    dead.backend("edge").add({"purged": 1}, last_purge=12.0)
    totals = Totals()
    totals.fold(dead.snapshot(), {})
    words = totals.plus([live.snapshot()], ["edge"]).backends["edge"]
    assert words["last_purge_ns"] == 12_000_000_000
