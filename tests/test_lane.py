"""lane.py and dispatcher.py: what one backend does, it does to its own lane, and everything is counted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import BackendError, Failure, Gap, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.guarded import VOUCHED_EVERY
from invalidator.lanes.policy import Policy
from invalidator.logs import get_logger
from invalidator.messages import GAP_CAUSES
from invalidator.pipeline.dispatcher import FLUSH_SPREAD, Dispatcher, flush_delay
from invalidator.slots import clock
from tests.support.lanes import Inline, Rig, Scripted, raising
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator import Batch
    from invalidator.messages import GapCause

EVERYTHING = (Target("all"),)
FLUSHES = Policy("users", "objects", on_gap=True, flush=EVERYTHING)
IGNORES = Policy("users", "objects", on_gap=False)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A backend hangs in front of it until it is opened, at the test's end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def hanging(gate: threading.Event) -> Scripted:
    def hang(_: Batch) -> PurgeResult:
        gate.wait(60)
        return PurgeResult()

    return Scripted(hang)


# Where a backend is called.


def noting(threads: list[str]) -> Callable[[object], PurgeResult]:
    def answer(_: object) -> PurgeResult:
        threads.append(threading.current_thread().name)
        return PurgeResult()

    return answer


def test_a_backend_that_never_blocks_is_called_in_turn_on_the_callers_thread(tmp_path: Path) -> None:
    threads: list[str] = []
    backend = Inline(noting(threads))
    rig = Rig(backend, tmp_path).start()
    rig.offer("a", "b")
    assert not backend.batches
    assert rig.lane.next_due(clock()) == 0.0
    rig.lane.turn()
    assert [batch.keys for batch in backend.batches] == [("a", "b")]
    assert threads == [threading.current_thread().name]
    assert rig.lane.next_due(clock()) == VOUCHED_EVERY, "it is told that all is well"


def test_a_backend_that_may_block_is_called_on_a_thread_of_its_lane(tmp_path: Path) -> None:
    threads: list[str] = []
    rig = Rig(Scripted(noting(threads)), tmp_path).start()
    rig.offer("a")
    rig.lane.turn()  # not its business
    rig.wait("purged", 1)
    assert threads == ["lane objects"]
    assert rig.lane.next_due(clock()) == float("inf")
    assert rig.stop() == 0


@pytest.mark.parametrize("kind", [Inline, Scripted])
def test_what_a_backend_has_opened_is_closed_once(kind: type[Scripted], tmp_path: Path) -> None:
    backend = kind()
    rig = Rig(backend, tmp_path).start()
    rig.offer("a")
    assert rig.stop() == 0
    assert rig.lane.join(clock()) == 0
    assert backend.closed == 1


def test_what_a_backend_raises_at_its_end_stops_no_other_lane(tmp_path: Path) -> None:
    class Rude(Inline):
        def close(self) -> None:
            raise SystemExit(3)

    rude, polite = Rig(Rude(), tmp_path), Rig(Inline(), tmp_path)
    Dispatcher([rude.lane, polite.lane], get_logger()).stop(clock() + 1)
    assert polite.backend.closed == 1


# The reader never waits.


def test_the_reader_does_not_wait_for_a_backend_that_hangs(tmp_path: Path, gate: threading.Event) -> None:
    backend = hanging(gate)
    rig = Rig(backend, tmp_path).start()
    rig.offer("first")
    wait_until(lambda: backend.batches)
    began = time.monotonic()
    for number in range(1_000):
        rig.offer(f"key:{number}")
    assert time.monotonic() - began < 1.0, "a thousand offers to a lane whose backend hangs"
    assert rig.counts()["pending"] == 1_001


def test_a_backend_that_hangs_holds_up_no_other_lane(tmp_path: Path, gate: threading.Event) -> None:
    stuck, quick = Rig(hanging(gate), tmp_path, FLUSHES), Rig(Scripted(), tmp_path)
    dispatcher = Dispatcher([stuck.lane, quick.lane], get_logger())
    stuck.offer("first")
    wait_until(lambda: stuck.backend.batches)
    for rig in (stuck, quick):
        rig.offer("a", "b")
    quick.wait("purged", 2)
    began = clock()
    dispatcher.stop(began + 0.2)
    assert clock() - began < 2.0
    assert quick.backend.closed == 1
    assert stuck.counts()["pending"] == 0
    assert stuck.ended("dead") == 3


# The end.


def test_a_stop_purges_what_still_waits_for_its_time(tmp_path: Path) -> None:
    backend = Scripted()
    rig = Rig(backend, tmp_path, replace(FLUSHES, window=3600.0)).start()
    rig.offer("a")
    rig.lane.flush("disconnect", clock() + 3600.0)
    assert not backend.batches
    assert rig.stop() == 0
    assert [batch.cause for batch in backend.batches] == ["disconnect"]
    assert rig.ended("flushed") == 1


def test_a_stop_asks_once_more_for_what_had_failed(tmp_path: Path) -> None:
    def away(_: Batch) -> PurgeResult:
        raise BackendError("unreachable", retry_after=300.0)

    backend = Scripted(away)
    rig = Rig(backend, tmp_path).start()
    rig.offer("a")
    wait_until(lambda: rig.counts()["failed:unreachable"] == 1)
    backend.answer = lambda _: PurgeResult()
    assert rig.stop() == 0
    assert rig.ended("purged") == 1


@pytest.mark.parametrize("policy", [FLUSHES, IGNORES])
def test_a_backend_that_hangs_at_the_end_is_left_and_its_targets_are_counted(
    tmp_path: Path, gate: threading.Event, policy: Policy
) -> None:
    backend = hanging(gate)
    rig = Rig(backend, tmp_path, policy).start()
    rig.offer("in flight")
    wait_until(lambda: backend.batches)
    rig.offer("a", "b", "c")
    began = clock()
    assert rig.stop(patience=0.2) == 4
    assert clock() - began < 2.0
    assert (rig.ended("dead"), rig.counts()["pending"]) == (4, 0)
    assert sorted(letter["target"] for letter in rig.letters()) == ["a", "b", "c", "in flight"]
    gate.set()  # an answer that comes after all must not be counted twice
    wait_until(lambda: backend.closed)
    assert rig.adds_up()


# Counts.


@pytest.mark.parametrize("ts", [0.0, -1e15, -1e308, 1e308, float("nan")])
def test_a_publishers_clock_that_says_anything_at_all_ends_no_lane(tmp_path: Path, ts: float) -> None:
    rig = Rig(Inline(), tmp_path)
    for number in range(30):
        rig.offer(f"key:{number}", ts=ts)
        rig.lane.turn()
    assert rig.ended("purged") == 30
    assert sum(count for name, count in rig.counts().items() if name.startswith("propagation:") and "sum" not in name)


OUTCOMES = st.sampled_from(["purged", "some again", "some dead", "away", "raises", "garbage"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.lists(st.sampled_from("abcdefgh"), max_size=5), st.booleans()),
        st.tuples(st.just("turn"), OUTCOMES),
        st.tuples(st.just("flush"), st.sampled_from(GAP_CAUSES)),
    ),
    max_size=30,
)


def answered(batch: Batch, outcome: str) -> object:
    some = list(targets_of(batch))[::2]
    match outcome:
        case "some again":
            return PurgeResult(tuple(Failure(target, "timeout") for target in some))
        case "some dead":
            return PurgeResult(tuple(Failure(target, "rejected", retry=False) for target in some))
        case "away":
            raise BackendError("unreachable")
        case "raises":
            raise RuntimeError("no")
        case "garbage":
            return "garbage"
    return PurgeResult()


@given(steps=STEPS, on_gap=st.booleans(), limit=st.sampled_from([3, 100]))
def test_every_target_comes_to_one_end_or_is_pending_whatever_the_backend_answers(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]], on_gap: bool, limit: int
) -> None:
    outcome = "purged"
    backend = Inline(lambda batch: answered(batch, outcome))
    policy = replace(FLUSHES, on_gap=on_gap, limit=limit)
    rig = Rig(backend, tmp_path_factory.getbasetemp() / "letters", policy)
    received = 0
    for step in steps:
        match step:
            case ("offer", keys, soft):
                rig.offer(*keys, soft=soft)
                received += len(keys)
            case ("turn", how):
                outcome = how
                rig.pending.hurry()  # the time to wait after a failure is over
                rig.lane.turn()
            case ("flush", cause):
                rig.lane.flush(cause, clock())
        assert rig.adds_up(), rig.counts()
    outcome = "purged"
    rig.stop()
    assert rig.adds_up()
    assert rig.counts()["received"] == received
    assert rig.counts()["pending"] == 0


def test_the_counts_add_up_at_every_moment_while_a_lanes_thread_works(tmp_path: Path) -> None:
    outcomes = iter(["purged", "some again", "raises", "some again", "garbage", "away", "some dead"] * 3)
    rig = Rig(Scripted(lambda batch: answered(batch, next(outcomes, "purged"))), tmp_path).start()
    for number in range(3_000):
        rig.offer(f"key:{number % 1_000}", f"other:{number}")
        if number % 10 == 0:
            assert rig.adds_up(), rig.counts()
    wait_until(lambda: not rig.counts()["pending"], 30, lambda: str(rig.counts()))
    assert rig.stop() == 0
    assert rig.adds_up()
    assert rig.counts()["received"] == 6_000
    assert len(rig.letters()) == rig.ended("dead") > 0


# Bounds, and what has no place.


def test_what_overflows_a_lane_that_may_flush_becomes_its_flush(tmp_path: Path) -> None:
    backend = Inline()
    rig = Rig(backend, tmp_path, replace(FLUSHES, limit=3))
    rig.offer("a", "b", "c", "d")
    rig.lane.turn()
    assert [(batch.cause, batch.all, batch.keys) for batch in backend.batches] == [
        ("overflow", True, ()),
    ]
    assert rig.ended("flushed") == 4
    assert rig.adds_up()
    assert rig.letters() == []


def test_what_overflows_a_lane_that_may_not_flush_is_kept_as_dead_letters(
    tmp_path: Path, gate: threading.Event
) -> None:
    rig = Rig(hanging(gate), tmp_path, replace(IGNORES, limit=3)).start()
    rig.offer("a", "b", "c", "d", "é\x7f")
    assert [(letter["kind"], letter["target"], letter["reason"]) for letter in rig.letters()] == [
        ("key", "d", "overflow"),
        ("key", "é\x7f", "overflow"),
    ]
    assert (rig.ended("dead"), rig.ended("lost"), rig.counts()["pending"]) == (2, 0, 3)
    assert rig.adds_up()


def test_what_overflows_the_dead_letters_too_is_counted_as_lost(tmp_path: Path, gate: threading.Event) -> None:
    rig = Rig(hanging(gate), tmp_path, replace(IGNORES, limit=3), letters_limit=200).start()
    rig.offer("a", "b", "c")
    for number in range(10):
        rig.offer(f"key:{number}")
    kept = len(rig.letters())
    assert 0 < kept < 10
    assert (rig.ended("dead"), rig.ended("lost")) == (kept, 10 - kept)
    assert rig.adds_up()


def test_a_target_that_will_never_be_taken_is_a_dead_letter(tmp_path: Path) -> None:
    rig = Rig(Inline(lambda _: PurgeResult((Failure(Target("key", "bad"), "rejected", retry=False),))), tmp_path)
    rig.offer("good", "bad")
    rig.lane.turn()
    assert (rig.ended("purged"), rig.ended("dead")) == (1, 1)
    assert [(letter["target"], letter["reason"]) for letter in rig.letters()] == [("bad", "rejected")]


def test_a_kind_that_the_backend_lacks_is_skipped_and_counted(tmp_path: Path) -> None:
    backend = Inline()
    rig = Rig(backend, tmp_path, replace(FLUSHES, kinds=frozenset({"key"})))
    rig.offer_targets(Target("key", "a"), Target("tag", "blue"), Target("prefix", "users:"))
    rig.lane.turn()
    assert [batch.keys for batch in backend.batches] == [("a",)]
    assert (rig.ended("purged"), rig.ended("skipped")) == (1, 2)
    assert rig.adds_up()


def test_a_kind_that_the_backend_lacks_is_widened_where_its_operator_wants_that(tmp_path: Path) -> None:
    backend = Inline()
    rig = Rig(backend, tmp_path, replace(IGNORES, kinds=frozenset({"key"}), flush=EVERYTHING, widen=True))
    rig.offer_targets(Target("tag", "blue"), Target("tag", "red"))
    rig.lane.turn()
    assert [(batch.cause, batch.all) for batch in backend.batches] == [("unsupported", True)]
    assert (rig.ended("flushed"), rig.counts()["flush:unsupported"]) == (2, 1)
    assert rig.adds_up()


# Flushes.


@pytest.mark.parametrize("cause", GAP_CAUSES)
def test_a_flush_is_spread_only_after_a_fault_that_a_whole_fleet_has_seen(cause: GapCause) -> None:
    spread = flush_delay(Gap(cause, 0.0, 1.0), 0.5, inline=False)
    assert spread == (0.0 if cause in {"start", "paused", "overflow"} else 0.5 * FLUSH_SPREAD)
    assert flush_delay(Gap(cause, 0.0, 1.0), 0.5, inline=True) == 0.0


def test_what_reconnecting_has_spread_is_not_spread_again() -> None:
    waits = [flush_delay(Gap("deadline", 0.0, 1.0, spread), 1.0, inline=False) for spread in (0.0, 0.4, 1.0, 5.0)]
    assert waits == pytest.approx([1.0, 0.6, 0.0, 0.0])


def test_memory_is_flushed_at_once_and_others_within_the_spread(tmp_path: Path) -> None:
    near, far = Rig(Inline(), tmp_path), Rig(Scripted(), tmp_path)
    dispatcher = Dispatcher([near.lane, far.lane], get_logger(), chance=lambda: 0.75)
    now = clock()
    dispatcher.flush(Gap("disconnect", now, now), now)
    dispatcher.turn()
    assert [batch.cause for batch in near.backend.batches] == ["disconnect"]
    assert far.pending.next_due(now) == pytest.approx(0.75 * FLUSH_SPREAD)
    dispatcher.stop(clock() + 5)
    assert [batch.cause for batch in far.backend.batches] == ["disconnect"]


def test_a_start_that_is_to_spare_the_caches_flushes_memory_all_the_same(tmp_path: Path) -> None:
    class Memory(Inline):
        memory = True

    near, log, far = Rig(Memory(), tmp_path), Rig(Inline(), tmp_path), Rig(Scripted(), tmp_path)
    dispatcher = Dispatcher([near.lane, log.lane, far.lane], get_logger())
    now = clock()
    dispatcher.flush(Gap("start", now, now), now, only_memory=True)
    dispatcher.turn()
    dispatcher.stop(clock() + 5)
    assert [batch.cause for batch in near.backend.batches] == ["start"]
    assert log.backend.batches == far.backend.batches == []


def test_a_lane_is_settled_once_its_flush_is_done(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path)
    assert rig.lane.is_settled()
    rig.lane.flush("start", clock())
    assert not rig.lane.is_settled()
    rig.lane.turn()
    assert rig.lane.is_settled()
    assert rig.changes == 1, "the loop that waits for this is told"


def test_a_lane_is_settled_too_once_its_backend_has_shown_that_it_cannot_now(tmp_path: Path) -> None:
    rig = Rig(Inline(raising(BackendError("unreachable"))), tmp_path)
    rig.lane.flush("start", clock())
    rig.lane.turn()
    assert rig.lane.is_settled()
    assert not rig.lane.is_sound(), "but not so that memory could be vouched for"


def test_a_lane_that_ignores_gaps_is_always_settled(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, IGNORES)
    rig.lane.flush("start", clock())
    assert rig.lane.is_settled()
    rig.lane.turn()
    assert rig.backend.batches == []


# What an inline backend is told of the subscription.


def test_a_backend_that_owes_nothing_is_told_how_long_the_subscription_is_alive(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path)
    rig.lane.vouch(12.5)
    assert rig.backend.vouched == [12.5]


def test_a_backend_that_owes_work_is_not_told_that_all_is_well(tmp_path: Path) -> None:
    rig = Rig(Inline(raising(RuntimeError("no"))), tmp_path)
    rig.offer("a")
    rig.lane.turn()
    rig.lane.vouch(12.5)
    rig.backend.answer = lambda _: PurgeResult()
    rig.pending.hurry()
    rig.lane.turn()
    rig.lane.vouch(12.5)
    assert rig.backend.vouched == [0.0, 12.5]


def test_the_loop_is_woken_to_take_back_what_it_vouches_for_when_a_purge_of_memory_fails(tmp_path: Path) -> None:
    rig = Rig(Inline(raising(RuntimeError("no"))), tmp_path)
    rig.offer("a")
    rig.lane.turn()
    assert rig.changes == 1


def test_a_backend_with_a_lane_of_its_own_is_told_nothing(tmp_path: Path) -> None:
    rig = Rig(Scripted(), tmp_path)
    rig.lane.vouch(12.5)
    assert rig.backend.vouched == []


def test_a_backend_that_raises_when_it_is_told_harms_nobody(tmp_path: Path) -> None:
    class Rude(Inline):
        def subscribed(self, until: float) -> None:
            raise SystemExit(int(until))

    rude, polite = Rig(Rude(), tmp_path), Rig(Inline(), tmp_path)
    dispatcher = Dispatcher([rude.lane, polite.lane], get_logger())
    dispatcher.vouch(12.5)
    assert polite.backend.vouched == [12.5]
