"""direct.py: small batches go out and are answered on the loop; what would wait is the thread's until it is done."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import BackendError, PurgeResult, Target
from invalidator.lanes.direct import FEW, MOST_AT_ONCE, PATIENCE, Direct
from invalidator.slots import clock
from tests.support.lanes import Rig, Scripted, raising
from tests.support.sending import BAD, GOOD, Sending, Under
from tests.support.waiting import wait_past, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator import Batch

HERE = threading.current_thread().name
THREAD = "lane objects"


@contextmanager
def running(backend: Scripted, folder: Path) -> Iterator[Rig]:
    rig = Rig(backend, folder).start()
    try:
        yield rig
    finally:
        for sent in getattr(backend, "sent", []):
            sent.say(GOOD)
        rig.stop()


def is_threads(rig: Rig) -> bool:
    assert isinstance(rig.lane, Direct)
    return rig.lane._is_threads


def lane_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


def sent_late(rig: Rig, backend: Sending) -> Under:
    """A batch on which the loop has waited as long as it does."""
    rig.offer("late")
    rig.lane.turn()
    wait_past(clock() + PATIENCE)
    rig.lane.turn()
    return backend.sent[-1]


# What the loop does.


def test_a_small_batch_is_sent_and_answered_on_the_callers_thread_and_no_thread_is_ever_started(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        for number in range(3):
            rig.offer(f"a{number}", "b")
            assert rig.lane.next_due(clock()) == 0.0
            rig.lane.turn()
            sent = backend.sent[-1]
            assert rig.lane.fileno() == sent.fileno()
            assert 0.0 < rig.lane.next_due(clock()) <= PATIENCE
            assert rig.adds_up()
            sent.say(GOOD)
            rig.lane.turn()
            assert rig.lane.fileno() is None
            assert rig.lane.next_due(clock()) == float("inf")
            assert rig.ended("purged") == 2 * (number + 1)
        assert rig.adds_up()
        assert lane_threads() == []
        assert (backend.batches, set(backend.threads)) == ([], {HERE})


def test_any_other_lane_starts_a_thread(tmp_path: Path) -> None:
    # The control for the test above.
    with running(Scripted(), tmp_path):
        assert lane_threads() == [THREAD]


def test_an_answer_that_is_not_there_yet_ends_no_turn_and_nothing_else_is_sent(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        rig.offer("a")
        for number in range(5):
            rig.lane.turn()
            rig.offer(f"b{number}", "a")
        assert [sent.batch.keys for sent in backend.sent] == [("a",)]
        backend.sent[0].say(GOOD)
        rig.lane.turn()
        assert [set(sent.batch.keys) for sent in backend.sent[1:]] == [{"a", *(f"b{number}" for number in range(5))}]
        assert rig.adds_up()


# What goes to the thread.


def test_what_would_wait_goes_to_the_thread_and_the_lane_comes_back_when_all_is_done(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        backend.sends = False
        rig.offer("first")
        rig.lane.turn()
        rig.wait("purged", 1)
        backend.sends = True
        wait_until(lambda: not is_threads(rig))
        rig.pending.pace.batch_size = 2 * MOST_AT_ONCE
        rig.offer(*(f"k{number}" for number in range(MOST_AT_ONCE + 1)))
        rig.lane.turn()
        rig.wait("purged", MOST_AT_ONCE + 2)
        wait_until(lambda: not is_threads(rig))
        rig.lane.flush("disconnect", clock())
        rig.lane.turn()
        wait_until(lambda: rig.changes)
        wait_until(lambda: not is_threads(rig))
        assert [len(batch.keys) or batch.cause for batch in backend.batches] == [1, MOST_AT_ONCE + 1, "disconnect"]
        assert set(backend.threads) == {THREAD}
        rig.offer("last")
        rig.lane.turn()
        assert [sent.batch.keys for sent in backend.sent] == [("last",)]
        assert backend.threads[-1] == HERE


@pytest.mark.parametrize("came_meanwhile", [3, FEW + 1])
def test_under_a_stream_of_messages_the_thread_gives_the_lane_back_once_few_are_left(
    tmp_path: Path, came_meanwhile: int
) -> None:
    keys = [f"k{number}" for number in range(came_meanwhile)]
    asked, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> PurgeResult:
        asked.set()
        assert go_on.wait(10)
        return PurgeResult()

    backend = Sending(slow)
    with running(backend, tmp_path) as rig:
        backend.sends = False
        rig.offer("first")
        rig.lane.turn()
        assert asked.wait(10)
        backend.sends = True
        rig.offer(*keys)
        go_on.set()
        wait_until(lambda: not is_threads(rig))
        if came_meanwhile <= FEW:
            assert rig.changes, "nobody has woken the loop"
            assert rig.lane.next_due(clock()) == 0.0
            rig.lane.turn()
            backend.sent[0].say(GOOD)
            rig.lane.turn()
        assert (len(backend.batches), len(backend.sent)) == ((1, 1) if came_meanwhile <= FEW else (2, 0))
        assert rig.ended("purged") == came_meanwhile + 1


def test_a_batch_of_few_keys_and_many_urls_is_not_small(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        rig.pending.pace.batch_size = 2 * MOST_AT_ONCE
        rig.offer_targets(*(Target("url", f"http://a/{number}") for number in range(MOST_AT_ONCE + 1)))
        rig.lane.turn()
        rig.wait("purged", MOST_AT_ONCE + 1)
        assert not backend.sent


def test_a_slow_answer_is_waited_for_by_the_thread_and_is_asked_for_once(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        sent = sent_late(rig, backend)
        assert rig.lane.next_due(clock()) == float("inf")
        assert rig.lane.fileno() is None
        wait_until(lambda: sent.waited)
        rig.offer("next")
        rig.lane.turn()
        assert rig.adds_up()
        sent.say(GOOD)
        rig.wait("purged", 2)
        assert [batch.keys for batch in backend.batches] == [("next",)]
        assert (backend.overlaps, len(backend.sent)) == (0, 1)


def test_an_answer_that_says_no_is_asked_about_once_more_by_the_thread(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        rig.offer("a")
        rig.lane.turn()
        backend.sent[0].say(BAD)
        rig.lane.turn()
        rig.wait("purged", 1)
        assert [batch.keys for batch in backend.batches] == [("a",)]
        assert backend.threads == [HERE, THREAD]


def test_what_has_failed_stays_with_the_thread_until_it_is_purged(tmp_path: Path) -> None:
    backend = Sending(raising(BackendError("unreachable", "away")))
    with running(backend, tmp_path) as rig:
        backend.sends = False
        rig.offer("a")
        rig.lane.turn()
        wait_until(lambda: rig.counts()["failed:unreachable"])
        backend.sends = True
        assert is_threads(rig)
        rig.lane.turn()
        assert not backend.sent
        backend.answer = lambda _: PurgeResult()
        rig.wait("purged", 1)
        wait_until(lambda: not is_threads(rig))


# What a plugin gets wrong.


class Broken(Under):
    def __init__(self, backend: Sending, batch: Batch, **wrong: Any) -> None:
        super().__init__(backend, batch)
        for name, answer in wrong.items():
            setattr(self, name, answer if callable(answer) else lambda answer=answer: answer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fileno": raising(RuntimeError("no"))},
        {"fileno": -1},
        {"fileno": 1 << 40},
        {"fileno": "three"},
        {"fileno": True},
        {"is_answered": lambda: raising(SystemExit(3))(None)},
        {"is_answered": PurgeResult()},
        {"is_answered": None},
        {"wait": lambda: raising(SystemExit(3))(None)},
        {"wait": True},
        {"wait": None},
    ],
    ids="-".join,
)
def test_what_was_sent_and_is_not_understood_is_purged_by_the_thread(wrong: dict[str, Any], tmp_path: Path) -> None:
    class Wrong(Sending):
        def send(self, batch: Batch) -> Any:
            self.sent.append(Broken(self, batch, **wrong))
            return self.sent[-1]

    backend = Wrong()
    with running(backend, tmp_path) as rig:
        sent_late(rig, backend)
        rig.wait("purged", 1)
        assert [batch.keys for batch in backend.batches] == [("late",)]
        assert rig.adds_up()


@pytest.mark.parametrize(
    "sent", [raising(SystemExit(3)), raising(BackendError("closed")), lambda _: 1, lambda _: ""], ids=range(4)
)
def test_a_send_that_raises_or_gives_what_is_none_leaves_it_to_the_thread(sent: Any, tmp_path: Path) -> None:
    class Wrong(Sending):
        def send(self, batch: Batch) -> Any:
            return sent(batch)

    backend = Wrong()
    with running(backend, tmp_path) as rig:
        rig.offer("a")
        rig.lane.turn()
        rig.wait("purged", 1)
        assert rig.adds_up()


def test_an_object_that_cannot_wait_is_a_failure_and_not_the_end_of_the_worker(tmp_path: Path) -> None:
    class Hurried:
        def __init__(self, under: Under) -> None:
            self.fileno, self.is_answered = under.fileno, under.is_answered

    class Wrong(Sending):
        def send(self, batch: Batch) -> Any:
            under = super().send(batch)
            self.end()
            return Hurried(under)

    backend = Wrong()
    with running(backend, tmp_path) as rig:
        sent_late(rig, backend)
        rig.wait("purged", 1)
        assert rig.counts()["failed:error"] == 1


# Stops and pauses.


@pytest.mark.parametrize("late", [False, True])
def test_a_stop_waits_for_what_is_under_way(late: bool, tmp_path: Path) -> None:
    backend = Sending()
    rig = Rig(backend, tmp_path).start()
    if late:
        sent_late(rig, backend)
    else:
        rig.offer("late")
        rig.lane.turn()
    rig.offer("last")
    rig.lane.stop()
    wait_until(lambda: backend.sent[0].waited)
    backend.sent[0].say(GOOD)
    assert rig.lane.join(clock() + 10) == 0
    assert (rig.ended("purged"), backend.closed, backend.overlaps) == (2, 1, 0)
    assert rig.adds_up()
    assert lane_threads() == []


def test_a_stop_does_not_wait_for_ever_and_what_is_under_way_is_dead_lettered(tmp_path: Path) -> None:
    backend = Sending()
    rig = Rig(backend, tmp_path).start()
    rig.offer("a")
    rig.lane.turn()
    assert rig.stop(0.1) == 1
    assert len(rig.letters()) == 1
    assert rig.adds_up()
    backend.sent[0].say(GOOD)
    wait_until(lambda: backend.closed)


def test_a_lane_that_has_done_nothing_closes_its_backend_once(tmp_path: Path) -> None:
    backend = Sending()
    rig = Rig(backend, tmp_path).start()
    assert rig.stop() == 0
    assert backend.closed == 1


def test_a_pause_ends_what_is_under_way_and_begins_nothing(tmp_path: Path) -> None:
    backend = Sending()
    with running(backend, tmp_path) as rig:
        rig.offer("a")
        rig.lane.turn()
        rig.lane.pause()
        rig.offer("b")
        backend.sent[0].say(GOOD)
        rig.lane.turn()
        assert (rig.ended("purged"), rig.counts()["pending"]) == (1, 1)
        assert rig.lane.next_due(clock()) == float("inf")
        rig.lane.resume()
        assert rig.lane.next_due(clock()) == 0.0
        rig.lane.turn()
        assert backend.sent[1].batch.keys == ("b",)


def test_a_pause_gives_the_lane_back_and_what_had_failed_is_done_after_it(tmp_path: Path) -> None:
    backend = Sending(raising(BackendError("unreachable", "away")))
    with running(backend, tmp_path) as rig:
        backend.sends = False
        rig.offer("a")
        rig.lane.turn()
        wait_until(lambda: rig.counts()["failed:unreachable"])
        rig.lane.pause()
        backend.answer = lambda _: PurgeResult()
        wait_until(lambda: not is_threads(rig))
        asked = len(backend.batches)
        rig.offer("b")
        rig.lane.turn()
        assert len(backend.batches) == asked
        rig.lane.resume()

        def is_done() -> bool:
            rig.lane.turn()
            return rig.ended("purged") == 2

        wait_until(is_done)
        assert rig.adds_up()
