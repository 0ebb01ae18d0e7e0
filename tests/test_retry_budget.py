"""budget.py: what fails again and again while others do not is given up; a backend that is away is asked for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import BackendError, Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.breaker import OPENS_AFTER
from invalidator.lanes.budget import LEAST_SECONDS, MOST_ATTEMPTS, Budgets
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.pace import ATTEMPT_SECONDS, RETRY_LONGEST
from invalidator.lanes.policy import Policy
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from invalidator import Batch
    from invalidator.messages import FailureReason

BAD = Target("key", "bad")


def fails_for_one(batch: Batch) -> PurgeResult:
    """The backend names the one that it could not do."""
    return PurgeResult((Failure(BAD, "server_error"),) if "bad" in batch.keys else ())


def fails_because_of_one(batch: Batch) -> PurgeResult:
    """A plugin that raises for one target, and so does none of the batch."""
    if "bad" in batch.keys:
        raise BackendError("error", "cannot encode this")
    return PurgeResult()


def is_away(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(target, "unreachable") for target in targets_of(batch)))


class Traffic:
    """A lane on a clock of its own whose backend is asked whenever something is due."""

    def __init__(self, purge: Callable[[Batch], PurgeResult]) -> None:
        self.lane = Pending(Policy("w", "b"), lambda: 0.5)
        self.purge = purge
        self.now = 0.0
        self.asked_for_bad: list[float] = []
        self.slowest = 0.0
        """The longest that a good target has waited, in seconds."""
        self._since: dict[str, float] = {}
        self.died: dict[Target, str] = {}

    def offer(self, *names: str) -> None:
        self.lane.add([Target("key", name) for name in names], soft=False, ts=None, now=self.now)
        self._since |= dict.fromkeys(set(names) - {"bad"}, self.now)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now + (due := self.lane.next_due(self.now)) <= until:
            self.now += due
            self._ask()
        self.now = until

    def _ask(self) -> None:
        if (batch := self.lane.take(self.now)) is None:
            return
        if "bad" in batch.keys:
            self.asked_for_bad.append(self.now)
        try:
            result = self.purge(batch)
        except BackendError as error:
            result = PurgeResult(tuple(Failure(target, error.reason) for target in targets_of(batch)))
        result = self.lane.judge(result, self.now)
        self.died |= {target: str(reason) for target, reason in self.lane.poison(result).items()}
        self.lane.settle(batch, result, self.now)
        undone = {failure.target.value for failure in result.failures}
        for name in set(batch.keys) - undone:
            self.slowest = max(self.slowest, self.now - self._since.pop(name, self.now))

    def goes_on(self, seconds: float, every: float = 0.1) -> None:
        for number in range(int(seconds / every)):
            self.offer(f"good:{self.now}:{number}")
            self.advance(every)


@pytest.mark.parametrize("purge", [fails_for_one, fails_because_of_one])
def test_a_target_that_fails_while_others_do_not_is_given_up_with_its_last_reason(
    purge: Callable[[Batch], PurgeResult],
) -> None:
    traffic = Traffic(purge)
    traffic.offer("bad", *(f"first:{n}" for n in range(1_000)))
    traffic.goes_on(2.0 * LEAST_SECONDS)

    assert list(traffic.died) == [BAD]
    assert len(traffic.asked_for_bad) >= MOST_ATTEMPTS
    assert LEAST_SECONDS <= traffic.asked_for_bad[-1] <= LEAST_SECONDS + 3 * RETRY_LONGEST
    assert traffic.lane.ends["purged"] == traffic.lane.received - traffic.lane.ends["coalesced"] - 1
    assert traffic.lane.settled_through() == 0 == len(traffic.lane)


@pytest.mark.parametrize("purge", [fails_for_one, fails_because_of_one])
def test_it_holds_up_nobody_meanwhile(purge: Callable[[Batch], PurgeResult]) -> None:
    traffic = Traffic(purge)
    traffic.offer("bad", *(f"first:{n}" for n in range(1_000)))
    traffic.advance(3.0)
    traffic.goes_on(5.0)
    traffic.slowest = 0.0
    traffic.goes_on(40.0)

    assert len(traffic.lane) == 1
    assert traffic.slowest <= 0.1


def test_without_a_budget_it_would_be_asked_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the first test.
    monkeypatch.setattr(Budgets, "judge", lambda _self, result, *_: result)
    traffic = Traffic(fails_for_one)
    traffic.offer("bad")
    traffic.goes_on(10 * LEAST_SECONDS)
    assert (traffic.died, len(traffic.lane)) == ({}, 1)


def test_a_backend_that_is_away_for_an_hour_spends_nobodys_budget() -> None:
    traffic = Traffic(is_away)
    traffic.offer(*"abc")
    traffic.advance(3600.0)
    assert (traffic.died, len(traffic.lane), traffic.lane.breaker.state) == ({}, 3, "open")
    traffic.purge = fails_for_one
    traffic.advance(10.0)
    assert traffic.lane.ends["purged"] == 3


def test_what_failed_on_its_own_before_the_backend_went_away_is_not_given_up_for_that() -> None:
    traffic = Traffic(fails_for_one)
    traffic.offer("bad", "good")
    traffic.goes_on(5.0)
    traffic.purge = is_away
    traffic.goes_on(3600.0, every=10.0)
    assert traffic.died == {}
    traffic.purge = lambda _: PurgeResult()
    traffic.advance(20.0)
    assert len(traffic.lane) == 0


def test_a_backend_that_fails_every_other_time_gives_up_nobody() -> None:
    times = iter(range(1_000_000))
    traffic = Traffic(lambda batch: is_away(batch) if next(times) % 2 else PurgeResult())
    traffic.offer(*(f"first:{n}" for n in range(100)))
    traffic.goes_on(300.0)
    assert (traffic.died, len(traffic.lane)) == ({}, 0)


@given(
    reason=st.sampled_from(["server_error", "error", "timeout", "closed", "unreachable"]),
    bad=st.sets(st.integers(0, 49), min_size=1, max_size=5),
)
@settings(max_examples=20, deadline=None)
def test_whoever_is_the_reason_for_a_batch_that_fails_is_found_among_many(reason: FailureReason, bad: set[int]) -> None:
    def purge(batch: Batch) -> PurgeResult:
        if any(int(key) in bad for key in batch.keys):
            return PurgeResult(tuple(Failure(target, reason) for target in targets_of(batch)))
        return PurgeResult()

    traffic = Traffic(purge)
    traffic.offer(*map(str, range(50)))
    traffic.advance(300.0)
    if reason not in ("timeout", "unreachable"):
        assert traffic.lane.ends["purged"] == 50 - len(bad)


def test_what_a_flush_stands_for_has_its_budget_back() -> None:
    budgets = Budgets()
    budgets.judge(PurgeResult((Failure(BAD, "error"),)), [BAD, Target("key", "good")], 0.0)
    assert len(budgets) == 1
    budgets.drop_covered([Target("prefix", "ba")])
    assert len(budgets) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "bad", "dead", "later"])), max_size=60))
def test_nobody_is_remembered_who_is_not_to_be_tried_again(steps: list[tuple[int, str]]) -> None:
    budgets, open_ = Budgets(), set()
    for now, (number, word) in enumerate(steps):
        target, other = Target("key", str(number)), Target("key", "other")
        failures = (Failure(target, "error", retry=word == "bad"),) if word in ("bad", "dead") else ()
        result = budgets.judge(
            PurgeResult(failures, deferred=(target,) if word == "later" else ()), [target, other], now
        )
        if word == "ok" or any(not failure.retry for failure in result.failures):
            open_.discard(target)
        elif word == "bad":
            open_.add(target)
        assert len(budgets) == len(open_)


# Through a lane.


def test_poison_becomes_a_dead_letter_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.lanes.budget.LEAST_SECONDS", 0.0)
    rig = Rig(Inline(fails_for_one), tmp_path)
    rig.offer("bad")
    for number in range(3 * MOST_ATTEMPTS):
        rig.offer(f"good:{number}")
        rig.pending.pace.hurry()
        rig.lane.turn()
    assert [(letter["target"], letter["reason"]) for letter in rig.letters()] == [("bad", "server_error")]
    assert (rig.ended("dead"), rig.counts()["pending"], rig.adds_up()) == (1, 0, True)


def test_a_backend_that_hangs_is_asked_in_attempts_that_end(tmp_path: Path) -> None:
    # It is the backend that ends an attempt, by the deadline that it is given: each one has its own.
    let_go = threading.Event()

    def hang(batch: Batch) -> PurgeResult:
        let_go.wait(10)
        return PurgeResult(tuple(Failure(target, "timeout") for target in targets_of(batch)))

    rig = Rig(Scripted(hang), tmp_path).start()
    rig.offer("a")
    wait_until(lambda: len(rig.backend.batches) == 1)
    let_go.set()
    wait_until(lambda: len(rig.backend.batches) > OPENS_AFTER)
    deadlines = [batch.deadline for batch in rig.backend.batches]
    assert deadlines == sorted(set(deadlines))
    rig.backend.answer = lambda _: PurgeResult()
    wait_until(lambda: rig.ended("purged") == 1, 2 * ATTEMPT_SECONDS)
    rig.stop()


def test_a_probe_that_hangs_is_the_only_one_and_what_comes_meanwhile_is_kept(tmp_path: Path) -> None:
    probed, let_go = threading.Event(), threading.Event()
    rig = Rig(Scripted(is_away), tmp_path)
    rig.start()
    rig.offer("a")
    wait_until(lambda: rig.lane.describe().breaker == "open")

    def hang(_: Batch) -> PurgeResult:
        probed.set()
        let_go.wait(10)
        return PurgeResult()

    rig.backend.answer = hang
    assert probed.wait(10)
    rig.offer(*(f"more:{n}" for n in range(100)))
    asked = len(rig.backend.batches)
    assert (rig.lane.describe().breaker, rig.counts()["pending"]) == ("half-open", 101)
    let_go.set()
    wait_until(lambda: rig.ended("purged") == 101)
    assert len(rig.backend.batches) >= asked
    assert rig.lane.describe().breaker == "closed"
    rig.stop()


def test_a_backend_that_flaps_is_asked_in_time_and_loses_nothing(tmp_path: Path) -> None:
    up = threading.Event()
    rig = Rig(Scripted(lambda batch: PurgeResult() if up.is_set() else is_away(batch)), tmp_path).start()
    for number in range(5):
        rig.offer(*(f"{number}:{n}" for n in range(20)))
        wait_until(lambda: rig.lane.describe().pending == 20)
        up.set()
        wait_until(lambda: rig.lane.describe().pending == 0, RETRY_LONGEST + 5)
        up.clear()
    assert (rig.ended("purged"), rig.letters(), rig.adds_up()) == (100, [], True)
    rig.stop()


def lacks_a_method(batch: Batch) -> PurgeResult:
    """The server does not know the call that these two need, and knows all others."""
    unknown = [target for target in targets_of(batch) if target.value in ("bad", "worse")]
    return PurgeResult(tuple(Failure(target, "unsupported", retry=False) for target in unknown))


def test_what_needs_a_call_that_the_server_lacks_comes_to_its_end_even_when_it_is_asked_for_alone() -> None:
    traffic = Traffic(lacks_a_method)
    traffic.offer("bad", "worse")
    traffic.advance(1.0)
    assert not traffic.died, "so far the server has taken nothing"
    traffic.goes_on(2.0 * LEAST_SECONDS)

    assert {target.value for target in traffic.died} == {"bad", "worse"}
    assert traffic.slowest < 2 * RETRY_LONGEST
    assert traffic.lane.breaker.state == "closed"


def test_what_the_server_lacks_dies_at_once_beside_what_it_takes() -> None:
    traffic = Traffic(lacks_a_method)
    traffic.offer("bad", "good")
    traffic.advance(1.0)
    assert list(traffic.died) == [BAD]
