"""Pause, and what one sees of a lane from outside: its state, and a receipt for each batch."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from invalidator import PurgeResult, Target
from invalidator.lanes.policy import Policy
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.slots import clock
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator.messages import Receipt

FLUSHES = Policy("users", "objects", on_gap=True, flush=(Target("all"),), limit=3)


def test_a_paused_lane_asks_for_nothing_and_takes_everything_in(tmp_path: Path) -> None:
    rig = Rig(Scripted(), tmp_path).start()
    rig.lane.pause()
    rig.offer("a")
    rig.offer("b")
    assert rig.lane.describe().paused
    assert (rig.counts()["pending"], rig.lane.describe().pending) == (2, 2)
    rig.lane.resume()
    rig.wait("purged", 2)
    assert [batch.keys for batch in rig.backend.batches] == [("a", "b")], "and not one by one, before"
    assert rig.stop() == 0


def test_what_is_in_flight_is_finished(tmp_path: Path) -> None:
    gate = threading.Event()

    def hang(_: object) -> PurgeResult:
        gate.wait(30)
        return PurgeResult()

    rig = Rig(Scripted(hang), tmp_path).start()
    rig.offer("a")
    wait_until(lambda: rig.backend.batches)
    rig.lane.pause()
    rig.offer("b")
    gate.set()
    rig.wait("purged", 1)
    assert rig.counts()["pending"] == 1
    rig.lane.resume()
    assert rig.stop() == 0


def test_a_pause_fills_no_more_than_a_lane_may_hold(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, FLUSHES)
    rig.lane.pause()
    for number in range(50):
        rig.offer(f"key:{number}")
        rig.lane.turn()
    assert rig.lane.next_due(clock()) == float("inf")
    assert len(rig.pending.leftover()) <= 3
    assert rig.adds_up()
    rig.lane.resume()
    rig.lane.turn()
    assert rig.backend.batches[0].cause == "overflow"
    assert rig.counts()["pending"] == 0


def test_what_overflows_a_paused_lane_that_may_not_flush_is_kept_as_dead_letters(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, replace(FLUSHES, on_gap=False))
    rig.lane.pause()
    rig.offer("a", "b", "c", "d")
    assert [letter["target"] for letter in rig.letters()] == ["d"]
    assert rig.adds_up()


def test_memory_is_not_vouched_for_from_the_moment_of_the_pause(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path)
    rig.lane.vouch(12.5)
    rig.lane.pause()
    assert rig.backend.vouched == [12.5, 0.0]
    rig.lane.vouch(13.5)
    assert rig.backend.vouched[-1] == 0.0
    rig.lane.resume()
    rig.lane.vouch(14.5)
    assert rig.backend.vouched[-1] == 14.5


def test_a_stop_purges_what_a_pause_held_back(tmp_path: Path) -> None:
    rigs = [Rig(Scripted(), tmp_path), Rig(Inline(), tmp_path)]
    dispatcher = Dispatcher([rig.lane for rig in rigs], get_logger())
    dispatcher.pause()
    for rig in rigs:
        rig.offer("a")
    assert all(state.paused for state in dispatcher.describe())
    dispatcher.stop(clock() + 5)
    assert [rig.ended("purged") for rig in rigs] == [1, 1]


def test_a_flush_that_a_pause_holds_back_is_owed(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path)
    dispatcher = Dispatcher([rig.lane], get_logger())
    dispatcher.pause()
    rig.lane.flush("start", clock())
    dispatcher.turn()
    assert dispatcher.is_flushing()
    assert dispatcher.is_settled(), "whoever restarts a paused worker need not wait for the end of the pause"
    dispatcher.resume()
    assert not dispatcher.is_settled()
    dispatcher.turn()
    assert dispatcher.is_settled()
    assert not dispatcher.is_flushing()


def test_whoever_looks_on_gets_a_receipt_for_each_batch(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path)
    rig.backend.node = "127.0.0.1:11211"
    rig.offer("a")
    rig.lane.turn()
    rig.lane.flush("start", clock())
    rig.lane.turn()
    assert [(node, receipt.batch.keys, receipt.batch.cause) for node, receipt in rig.receipts] == [
        ("127.0.0.1:11211", ("a",), ""),
        ("127.0.0.1:11211", (), "start"),
    ]


def test_whoever_looks_on_and_raises_stops_no_lane(tmp_path: Path) -> None:
    def rude(_: str, receipt: Receipt) -> None:
        raise SystemExit(len(receipt.batch.keys))

    rig = Rig(Inline(), tmp_path)
    rig.lane._onlookers._observe = rude
    rig.offer("a")
    rig.lane.turn()
    assert rig.ended("purged") == 1


def test_a_receipt_of_a_dry_run_says_so(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, replace(FLUSHES, dry_run=True))
    rig.offer("a")
    rig.lane.turn()
    assert [receipt.dry_run for _, receipt in rig.receipts] == [True]


def test_a_lane_that_has_done_nothing_says_so(tmp_path: Path) -> None:
    state = Rig(Inline(), tmp_path).lane.describe()
    assert (state.backend, state.node, state.pending, state.breaker, state.paused) == (
        "objects",
        "",
        0,
        "closed",
        False,
    )
    assert (state.breaker_since, state.purged_at, state.failed_at, state.reason, state.detail) == (
        0.0,
        0.0,
        0.0,
        "",
        "",
    )
