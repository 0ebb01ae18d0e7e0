"""Deferred answers: a backend may put off what a limit does not allow now, which is neither purged nor failed."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import pytest

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.pace import FIRST_BATCH, SHORTEST_DEFERRAL
from invalidator.lanes.policy import Policy
from invalidator.slots import clock
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from invalidator import Batch


def pending(*flush: Target) -> Pending:
    return Pending(Policy("w", "b", flush=flush or (Target("all"),), on_gap=True), chance=lambda: 0.5)


def keys(*names: str) -> list[Target]:
    return [Target("key", name) for name in names]


def take(lane: Pending, now: float) -> Batch:
    batch = lane.take(now)
    assert batch is not None
    return batch


def later(batch: Batch, seconds: float = 0.0) -> PurgeResult:
    """An answer that puts off everything."""
    return PurgeResult(deferred=tuple(targets_of(batch)), retry_after=seconds)


def test_what_was_put_off_comes_again_in_front_in_its_order_with_its_time() -> None:
    lane = pending()
    lane.add(keys("a", "b"), soft=False, ts=10.0, now=0.0)
    batch = take(lane, 0.0)
    lane.add(keys("c", "b"), soft=False, ts=20.0, now=0.1)
    lane.settle(batch, later(batch, 0.5), 0.2)

    assert lane.take(0.69) is None
    assert lane.next_due(0.2) == pytest.approx(0.5)
    again = take(lane, 0.7)
    assert again.keys == ("a", "b", "c")
    assert lane.ends["coalesced"] == 1
    assert lane.settle(again, PurgeResult(), 0.8) == [10.0, 10.0, 20.0]


def test_what_was_put_off_is_no_failure() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    now = 0.0
    for _ in range(10):
        batch = take(lane, now)
        lane.settle(batch, later(batch, 1.0), now)
        assert (lane.failures, lane.breaker.state, batch.attempt) == (0, "closed", 1)
        assert lane.next_due(now) == pytest.approx(1.0), "the wait does not grow"
        now += 1.0


def test_a_backend_that_puts_off_for_ever_and_names_no_time_is_given_a_rest() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    for retry_after in (0.0, -5.0):
        batch = take(lane, 1.0)
        lane.settle(batch, later(batch, retry_after), 1.0)
        assert lane.next_due(1.0) == pytest.approx(SHORTEST_DEFERRAL)
        lane.hurry()


def test_without_that_rest_it_would_be_asked_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above.
    monkeypatch.setattr("invalidator.lanes.pace.SHORTEST_DEFERRAL", 0.0)
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    batch = take(lane, 1.0)
    lane.settle(batch, later(batch), 1.0)
    assert lane.next_due(1.0) == 0.0


def test_some_are_put_off_while_others_are_purged_and_others_fail() -> None:
    lane = pending()
    lane.add(keys("good", "bad", "dead", "later"), soft=False, ts=None, now=0.0)
    batch = take(lane, 0.0)
    failures = (Failure(Target("key", "bad"), "error"), Failure(Target("key", "dead"), "rejected", retry=False))
    lane.settle(batch, PurgeResult(failures, retry_after=0.5, deferred=tuple(keys("later"))), 0.0)

    assert (lane.ends["purged"], lane.ends["dead"], len(lane), lane.failures) == (1, 1, 2, 0)
    assert lane.take(0.4) is None
    again = take(lane, 0.6)
    lane.settle(again, PurgeResult(), 0.6)
    assert (again.keys, take(lane, 0.6).keys) == (("bad",), ("later",))


def test_a_batch_of_which_all_that_was_tried_failed_has_failed() -> None:
    lane = pending()
    lane.add(keys("bad", "later"), soft=False, ts=None, now=0.0)
    failures = (Failure(Target("key", "bad"), "timeout"),)
    lane.settle(take(lane, 0.0), PurgeResult(failures, deferred=tuple(keys("later"))), 0.0)

    assert lane.failures == 1


def test_only_what_was_tried_says_how_much_to_ask_for() -> None:
    lane = pending()
    lane.add(keys(*(str(n) for n in range(2 * FIRST_BATCH))), soft=False, ts=None, now=0.0)
    batch = take(lane, 0.0)
    lane.settle(batch, later(batch), 0.001)
    assert lane.pace.batch_size == FIRST_BATCH, "that was quick, but nothing was done"
    batch = take(lane, 1.0)
    lane.settle(batch, later(batch), 6.0)
    assert lane.pace.batch_size == FIRST_BATCH, "that took long, but nothing was done"


@pytest.mark.parametrize("soft", [True, False])
def test_a_target_that_came_again_as_soft_or_hard_is_purged_as_hard(soft: bool) -> None:
    lane = pending()
    lane.add(keys("a"), soft=soft, ts=None, now=0.0)
    batch = take(lane, 0.0)
    lane.add(keys("a"), soft=not soft, ts=None, now=0.0)
    lane.settle(batch, later(batch), 0.0)
    again = take(lane, 1.0)

    assert (again.keys, again.soft, len(lane)) == (("a",), False, 1)
    lane.settle(again, PurgeResult(), 1.0)
    assert lane.received == sum(lane.ends.values()) == 2


def test_a_flush_that_was_put_off_is_asked_for_again_and_has_not_failed() -> None:
    lane = pending()
    lane.add(keys("a"), soft=False, ts=None, now=0.0)
    lane.flush("start", 0.0)
    batch = take(lane, 0.0)
    lane.settle(batch, later(batch, 2.0), 0.0)

    assert (lane.failures, lane.is_flushing(), len(lane)) == (0, True, 1)
    assert lane.take(1.9) is None
    again = take(lane, 2.0)
    assert (again.cause, again.all) == ("start", True)
    lane.settle(again, PurgeResult(), 2.0)
    assert lane.ends["flushed"] == 1


def test_a_flush_that_a_limit_allows_one_part_of_at_a_time_gets_done() -> None:
    tags = [Target("tag", name) for name in "abc"]
    lane = pending(*tags)
    lane.flush("disconnect", 0.0)
    asked, now = [], 0.0
    while lane.is_flushing():
        batch = take(lane, now)
        asked.append(batch.tags)
        lane.settle(batch, PurgeResult(deferred=tuple(targets_of(batch))[1:], retry_after=1.0), now)
        now += 1.0

    assert asked == [("a", "b", "c"), ("b", "c"), ("c",)]


def test_a_flush_that_is_asked_for_anew_in_between_begins_anew() -> None:
    tags = [Target("tag", name) for name in "ab"]
    lane = pending(*tags)
    lane.flush("disconnect", 0.0)
    batch = take(lane, 0.0)
    lane.settle(batch, PurgeResult(deferred=(tags[1],)), 0.0)
    lane.flush("disconnect", 0.0)

    assert take(lane, 1.0).tags == ("a", "b")


def test_what_came_after_a_part_of_a_flush_is_not_covered_by_the_rest_of_it() -> None:
    tags = [Target("tag", name) for name in "ab"]
    lane = pending(*tags)
    lane.flush("disconnect", 0.0)
    batch = take(lane, 0.0)
    lane.settle(batch, PurgeResult(deferred=(tags[1],)), 0.0)
    lane.add(keys("other"), soft=False, ts=None, now=0.5)
    other = take(lane, 0.5)  # flushes and targets take turns
    lane.add(tags, soft=False, ts=None, now=0.5)
    lane.settle(other, PurgeResult(), 0.5)
    lane.settle(take(lane, 1.0), PurgeResult(), 1.0)

    assert lane.ends["flushed"] == 1
    assert take(lane, 1.0).tags == ("a",)


# In a lane.


def once_later(result: Callable[[Batch], PurgeResult]) -> Callable[[Batch], PurgeResult]:
    """Puts off the first batch, as `result` says, and purges the others."""
    first = deque([result])
    return lambda batch: first.popleft()(batch) if first else PurgeResult()


def test_a_lane_counts_what_was_put_off_as_pending_and_as_nothing_else(tmp_path: Path) -> None:
    rig = Rig(Scripted(lambda batch: later(batch, 60.0)), tmp_path).start()
    rig.offer("a", "b")
    wait_until(lambda: rig.backend.batches)
    wait_until(lambda: rig.pending.pace.deferred_until)

    counts = rig.counts()
    assert (counts["pending"], counts["purged"]) == (2, 0)
    assert not any(count for name, count in counts.items() if name.startswith(("failed:", "purge:")))
    assert counts["last_purge_ns"] == 0
    assert rig.stop(patience=0.1) == 2


def test_a_stop_asks_at_once_and_says_that_it_is_the_last_time(tmp_path: Path) -> None:
    rig = Rig(Scripted(once_later(lambda batch: later(batch, 300.0))), tmp_path).start()
    rig.offer("a")
    wait_until(lambda: rig.pending.pace.deferred_until)
    began = clock()

    assert rig.stop() == 0
    assert clock() - began < 5.0
    assert [batch.last for batch in rig.backend.batches] == [False, True]
    assert rig.ended("purged") == 1


@pytest.mark.parametrize("flush", [False, True])
def test_a_stop_waits_for_the_time_that_the_backend_named(tmp_path: Path, flush: bool) -> None:
    def limited(batch: Batch) -> PurgeResult:
        return PurgeResult() if len(rig.backend.batches) > 4 else later(batch, 0.05)

    rig = Rig(Scripted(limited), tmp_path).start()
    rig.offer("a")
    if flush:
        rig.lane.flush("disconnect", clock())
    wait_until(lambda: rig.backend.batches)

    assert rig.stop() == 0, "it was asked again and again, not once"
    assert rig.ended("dead") == 0
    assert rig.adds_up()
    assert not rig.lane.is_flushing()


def test_a_stop_does_not_wait_so_for_a_backend_that_fails(tmp_path: Path) -> None:
    # The control for the test above: one more attempt, and no more.
    def failing(batch: Batch) -> PurgeResult:
        return PurgeResult(tuple(Failure(target, "error") for target in targets_of(batch)))

    rig = Rig(Scripted(failing), tmp_path).start()
    rig.offer("a")
    wait_until(lambda: rig.pending.failures)

    assert rig.stop() == 1
    assert rig.ended("dead") == 1


def test_what_is_still_put_off_at_the_stops_deadline_is_kept_as_dead_letters(tmp_path: Path) -> None:
    rig = Rig(Scripted(lambda batch: later(batch, 300.0)), tmp_path).start()
    rig.offer("a", "b")
    began = clock()

    assert rig.stop(patience=0.2) == 2
    assert clock() - began < 2.0
    assert [letter["reason"] for letter in rig.letters()] == ["stopped", "stopped"]
    wait_until(lambda: rig.backend.closed)
    assert rig.adds_up()


def test_memory_that_puts_off_is_not_vouched_for(tmp_path: Path) -> None:
    rig = Rig(Inline(lambda batch: later(batch, 60.0)), tmp_path)
    rig.offer("a")
    rig.lane.turn()
    rig.lane.vouch(12.5)

    assert rig.backend.vouched == [0.0]


def test_how_long_a_server_wants_to_be_left_alone_is_said_while_something_waits_for_it(tmp_path: Path) -> None:
    def tired(batch: Batch) -> PurgeResult:
        return PurgeResult(tuple(Failure(target, "rate_limited") for target in targets_of(batch)), retry_after=290.0)

    rig = Rig(Inline(tired), tmp_path)
    assert rig.lane.describe().next_try == 0.0
    rig.offer("a")
    rig.lane.turn()

    assert rig.lane.describe().breaker == "closed", "one failure opens none: nothing else would tell of it"
    assert 285.0 < rig.lane.describe().next_try - time.time() < 292.0
    rig.backend.answer = lambda _: PurgeResult()
    rig.pending.pace.hurry()
    rig.lane.turn()
    assert rig.lane.describe().next_try == 0.0
