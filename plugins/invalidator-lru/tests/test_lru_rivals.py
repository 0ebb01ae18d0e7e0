"""Two daemons on one path: the later one vouches, nothing stale is served, and the earlier one gets its table back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from invalidator_lru import LRUCache
from invalidator_lru.claim import Claim
from invalidator_lru.draft import Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.preparation import prepare
from invalidator_lru.records import retract_dead
from invalidator_lru.table import EPOCH, LIVENESS, OWNER, UNTIL, Table, open_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OURS, THEIRS = 1 << 23, (1 << 23) + 1  # pids that the kernel gives to nobody


class Rivals:
    """A daemon, and what a second one does on the same table: each has the worker `w`, and a clock that they share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000 * LIVENESS
        self.first = self.started(OURS)
        self.cache = LRUCache(path, clock=lambda: self.now)
        self.both(self.first)

    def started(self, pid: int) -> Feeder:
        prepare(Plan(self.path, frozenset({"w"})))
        return Feeder(self.path, "w", clock=lambda: self.now, pid=lambda: pid)

    def both(self, *alive: Feeder, seconds: float = 0.1) -> None:
        """That much time passes, and those who are alive vouch all the while."""
        for _ in range(round(seconds * 10)):
            self.now += LIVENESS // 10
            for feeder in alive:
                feeder.prove(self.now / LIVENESS + 3)

    def owner(self) -> int:
        table = open_table(self.path)
        record = table.record_of("w")
        assert record is not None
        return table.words[record + OWNER]


@pytest.fixture
def rivals(tmp_path: Path) -> Iterator[Rivals]:
    made = Rivals(tmp_path / "shop.gen")
    yield made
    made.first.close()


def test_a_second_daemon_that_was_stopped_gives_the_table_back_at_once(rivals: Rivals) -> None:
    second = rivals.started(THEIRS)
    rivals.both(rivals.first, second)
    second.close()
    assert not rivals.cache.is_proven()
    rivals.both(rivals.first)
    assert rivals.cache.is_proven()
    assert rivals.owner() == OURS


def test_a_second_daemon_that_was_killed_gives_it_back_within_a_second(rivals: Rivals) -> None:
    rivals.both(rivals.first, rivals.started(THEIRS))
    rivals.both(rivals.first, seconds=0.9)
    assert rivals.owner() == THEIRS
    rivals.both(rivals.first, seconds=0.2)
    assert rivals.cache.is_proven()
    assert rivals.owner() == OURS


def test_a_second_daemon_that_never_came_to_vouch_takes_nothing_away(rivals: Rivals) -> None:
    rivals.started(THEIRS)
    rivals.both(rivals.first)
    assert rivals.cache.is_proven()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_what_was_kept_under_one_daemon_is_not_served_under_the_other(rivals: Rivals, how: str) -> None:
    cache = rivals.cache
    assert cache.set("before", 1)
    second = rivals.started(THEIRS)
    rivals.both(rivals.first, second)
    assert cache.get("before") is None
    assert cache.set("meanwhile", 1)
    rivals.both(rivals.first, second)
    assert cache.get("meanwhile") == 1, "one of them vouches, and always the same"
    if how == "stopped":
        second.close()
    rivals.both(rivals.first, seconds=1.1)
    assert cache.is_proven()
    assert cache.get("meanwhile") is None, "what the other one wrote, or missed, is not known"


@pytest.mark.parametrize("order", ["starts, loses", "loses, starts"])
def test_also_what_was_kept_under_one_that_nobody_met_is_not_served(rivals: Rivals, order: str) -> None:
    """The first one's subscription is lost for just as long as the second daemon is there."""
    if order == "loses, starts":
        rivals.first.retract()
        second = rivals.started(THEIRS)
    else:
        second = rivals.started(THEIRS)
        rivals.both(rivals.first)
        rivals.first.retract()
    rivals.both(second)
    assert rivals.cache.set("meanwhile", 1)
    second.close()
    rivals.both(rivals.first)
    assert rivals.cache.is_proven()
    assert rivals.cache.get("meanwhile") is None


def test_who_comes_without_a_supervisor_of_its_own_forgets_everything_too(rivals: Rivals) -> None:
    assert rivals.cache.set("k", 1)
    second = Feeder(rivals.path, "w", clock=lambda: rivals.now, pid=lambda: THEIRS)
    rivals.both(second)
    assert rivals.cache.is_proven()
    assert rivals.cache.get("k") is None
    second.close()


def test_a_worker_that_was_replaced_leaves_it_to_its_successor_what_to_forget(rivals: Rivals) -> None:
    assert rivals.cache.set("k", 1)
    rivals.first.close()
    successor = Feeder(rivals.path, "w", clock=lambda: rivals.now, pid=lambda: THEIRS)
    rivals.both(successor)
    assert rivals.cache.get("k") == 1, "its start's flush is in its topology"
    successor.close()


def test_a_subscription_that_is_lost_and_found_costs_nothing_when_no_other_daemon_came(rivals: Rivals) -> None:
    assert rivals.cache.set("k", 1)
    rivals.first.retract()
    assert rivals.owner() == 0
    rivals.both(rivals.first)
    assert rivals.cache.get("k") == 1, "its worker says what is to be flushed then, and it may be little"


def test_of_two_that_live_the_later_vouches_until_it_cannot(rivals: Rivals) -> None:
    second = rivals.started(THEIRS)
    rivals.both(rivals.first, second)
    epoch = open_table(rivals.path).words[EPOCH]
    rivals.both(rivals.first, second, seconds=3)
    assert rivals.owner() == THEIRS
    assert open_table(rivals.path).words[EPOCH] == epoch, "they do not take it from one another all the time"
    second.retract()  # its subscription is lost
    rivals.both(rivals.first)
    assert rivals.owner() == OURS
    rivals.both(rivals.first, second, seconds=1)
    assert rivals.owner() == OURS, "now it is the second that came earlier"
    second.close()
    assert rivals.cache.is_proven(), "it has nothing to take back"


def test_what_either_writes_is_forgotten_whoever_vouches(rivals: Rivals) -> None:
    second = rivals.started(THEIRS)
    rivals.both(rivals.first, second)
    for feeder in (rivals.first, second):
        assert rivals.cache.set("k", 1)
        feeder.invalidate(keys=["k"])
        assert rivals.cache.get("k") is None
    second.close()


def test_a_dead_workers_word_is_taken_back_and_not_that_of_another_daemon(rivals: Rivals) -> None:
    table = open_table(rivals.path, writable=True)
    alive = rivals.started(os.getpid())
    rivals.both(rivals.first, alive)
    retract_dead(table, "w")
    assert rivals.cache.is_proven(), "it is not the word of the one that died"
    alive.retract()
    rivals.both(rivals.first)
    retract_dead(table, "w")
    assert not rivals.cache.is_proven(), "no process has the pid"
    rivals.both(rivals.first)
    assert rivals.cache.is_proven()
    alive.close()


def test_both_say_so_and_not_all_the_time(rivals: Rivals, capfd: pytest.CaptureFixture[str]) -> None:
    second = rivals.started(THEIRS)
    rivals.both(rivals.first, second, seconds=20)
    said = [line for line in capfd.readouterr().err.splitlines() if "lru.contended" in line]
    assert len(said) == 2
    assert f"other_pid={OURS}" in said[0]
    assert 'vouching="this one"' in said[0]
    assert f"other_pid={THEIRS}" in said[1]
    assert 'vouching="the other"' in said[1]
    second.close()


def test_one_whose_record_another_daemon_has_removed_says_so(rivals: Rivals, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(Plan(rivals.path, frozenset({"another worker"})))
    rivals.both(rivals.first, seconds=0.9)
    assert "lru" not in capfd.readouterr().err, "a reload that takes a worker away does the same"
    rivals.both(rivals.first, seconds=20)
    assert capfd.readouterr().err.count("lru.unlisted") == 1
    prepare(Plan(rivals.path, frozenset({"w"})), fresh=False)  # SIGHUP
    rivals.both(rivals.first)
    assert rivals.cache.is_proven()


# Every order of their writes.


class Interrupted:
    """A table's words, and at one access to them something else comes first."""

    def __init__(self, words: memoryview[int], at: int, what: Callable[[], object]) -> None:
        self._words = words
        self._left = at
        self._what = what

    def __getitem__(self, index: int) -> int:
        self._tick()
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._tick()
        self._words[index] = value

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._what()

    @property
    def came(self) -> bool:
        return self._left <= 0


def orders(
    path: Path, ours: str, theirs: tuple[str, ...], state: tuple[str, ...]
) -> Iterator[tuple[Table, Claim, Claim]]:
    """What is left of `ours`, with `theirs` at each place within it, from that `state`: whose claims held before."""
    now = 1000 * LIVENESS
    place = 0
    while True:
        place += 1
        prepare(Plan(path, frozenset({"w"})))
        table = open_table(path, writable=True)
        one, other = Claim(table, "w", OURS), Claim(table, "w", THEIRS)

        def does(claim: Claim, what: str) -> None:
            claim.vouch(now, now + LIVENESS) if what == "vouch" else claim.retract()

        for who in state:
            does({"ours": one, "theirs": other}[who], "vouch")

        def meanwhile(other: Claim = other) -> None:
            for what in theirs:
                does(other, what)

        words: Any = Interrupted(table.words, place, meanwhile)
        one.table = Table(words, table.slots, table.identity)
        does(one, ours)
        one.table = table
        if not words.came:
            meanwhile()  # after all of it
        yield table, one, other
        if not words.came:
            return


STATES: list[tuple[str, ...]] = [(), ("ours",), ("theirs",), ("ours", "theirs"), ("theirs", "ours")]


@pytest.mark.parametrize("state", STATES, ids=" then ".join)
@pytest.mark.parametrize("ours", ["vouch", "retract"])
@pytest.mark.parametrize("theirs", [("vouch",), ("retract",), ("vouch", "retract"), ("retract", "vouch")], ids=" ".join)
def test_no_order_of_their_writes_leaves_a_word_that_nobody_gives(
    tmp_path: Path, ours: str, theirs: tuple[str, ...], state: tuple[str, ...]
) -> None:
    for table, one, other in orders(tmp_path / "t", ours, theirs, state):
        record = table.record_of("w")
        assert record is not None
        if (ours, theirs[-1]) != ("retract", "retract"):
            one.retract()
            other.retract()
        assert table.words[record + UNTIL] == 0
        for _ in range(2):  # and it heals: within two beats one of them vouches, and the other knows it
            outcomes = {claim.vouch(1001 * LIVENESS, 1002 * LIVENESS) for claim in (one, other)}
        assert outcomes == {"vouched", "yielded"}
