"""The short form of `make chaos`: some faults under a small load, in both modes; and without the guards."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos import guards, results, table
from chaos.delivery import MODES
from chaos.faults.broker import ClosedSubscription, KilledRedis, StoppedRedis
from chaos.faults.caches import HangingMemcached, UnreachableMemcached
from chaos.faults.processes import KilledSupervisor, KilledWorker, StoppedWorker
from chaos.promises import ANSWERS_AGAIN, PROMISES, p99
from chaos.runs import controls, gaps, memory, registry
from chaos.runs.run import Task
from chaos.scene import Setting, built
from chaos.trial import merged, trial
from tests.support import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.delivery import Mode
    from chaos.faults.fault import Fault

pytestmark = pytest.mark.long

RATE = 600
SEED = 4
SHORT_CONTROLS = ("replay", "ready", "backoff")
"""The cheap ones that no sequence of test_stateful.py shows; `make chaos` does all."""
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def servers() -> None:
    for name in ("redis", "memcached"):
        required.require(name)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("mode", MODES)
def test_after_six_faults_nothing_is_stale(folder: Callable[[str], Path], mode: Mode) -> None:
    faults: list[type[Fault]] = [
        KilledWorker,
        ClosedSubscription,
        UnreachableMemcached,
        KilledRedis,
        StoppedRedis,
        KilledSupervisor,
    ]
    verdict = trial(folder("chaos"), faults, 1, merged(faults, mode=mode, rate=RATE, seed=SEED))

    assert verdict.quiet
    assert verdict.all_stale == 0, verdict
    assert all(held > 100 for held in verdict.held.values()), f"there was too little to look at: {verdict}"
    assert verdict.lost == 0
    if mode == "journal":
        assert not any(verdict.unapplied.values()), verdict
    else:
        # Nobody heard them: that nothing is stale is the flushes' merit, and this oracle can count.
        assert all(verdict.unapplied.values()), verdict


@pytest.mark.usefixtures("servers")
def test_twenty_gaps_are_counted_as_twenty(folder: Callable[[str], Path]) -> None:
    found = gaps.injected(Task(folder("chaos"), "pubsub", SEED, short=True))

    assert found.values["counted"] == found.values["injected"] == 20
    assert sum(found.values["verdict"]["stale"].values()) == 0


class Hollow(StoppedWorker):
    """A fault that does not take place."""

    notice = 0.3

    def inject(self) -> None:
        """Nobody is stopped."""

    def heal(self) -> None:
        """Nobody has to go on."""


class HollowHang(HangingMemcached):
    notice = 0.3

    def begin(self) -> None:
        """The cache answers as ever."""

    end = begin


class HollowKill(ClosedSubscription):
    notice = 0.3

    def inject(self) -> None:
        """Every connection stays."""


@pytest.mark.usefixtures("servers")
def test_a_fault_that_did_not_take_place_ends_the_run_and_no_gap_is_counted_for_it(
    folder: Callable[[str], Path],
) -> None:
    hollow: list[type[Fault]] = [Hollow, HollowHang, HollowKill]
    with built(folder("chaos"), merged(hollow, rate=300, seed=SEED)) as scene:
        before = gaps.gaps_of(scene)
        with scene.load():
            for fault in hollow:
                with pytest.raises(AssertionError, match=f"nothing is seen of {fault.name}"):
                    fault(scene, random.Random(SEED)).strike()

        assert gaps.gaps_of(scene) == before  # the control of those that are counted: without a fault there is none


@pytest.mark.usefixtures("servers")
def test_memory_serves_again_soon_after_a_gap(folder: Callable[[str], Path]) -> None:
    found = memory.shut(Task(folder("chaos"), "journal", SEED, short=True))

    assert len(found.values["shut"]) == 2
    assert max(found.values["shut"]) < 5.0  # a machine of tests is a busy one; the table has the number
    assert sum(found.values["verdict"]["stale"].values()) == 0


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("guard", SHORT_CONTROLS)
def test_without_its_guard_a_promise_is_seen_to_be_broken(folder: Callable[[str], Path], guard: str) -> None:
    mode, seen, _ = controls.CONTROLS[guard]
    setting = Setting(mode=mode, seed=SEED, rate=RATE, seconds=120.0, guard=guard)

    assert controls.is_broken(guard, folder("chaos"), setting), f"nothing was seen of this: {seen}"


@pytest.mark.parametrize("name", guards.GUARDS)
def test_each_guard_is_where_its_control_looks_for_it(name: str) -> None:
    assert name in controls.CONTROLS
    for place in guards.GUARDS[name].patches:
        guards.found(place)
    with pytest.raises((AttributeError, ImportError)):
        guards.found("invalidator.pipeline.dispatcher:Dispatcher.no_such_guard")


def test_the_table_in_the_readme_is_that_of_the_results() -> None:
    text = README.read_text()

    assert table.in_text(text, table.rendered(results.Result.read(results.COMMITTED))) == text, "run `make docs`"
    assert table.in_text(text, table.rendered([])) != text  # the control: of other results it would be another


def test_what_was_kept_is_read_and_kept_again_as_it_was(tmp_path: Path) -> None:
    def kept(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    for result in results.Result.read(results.COMMITTED):
        result.keep(tmp_path)

    assert kept(tmp_path) == kept(results.COMMITTED) != {}


def test_a_result_that_breaks_its_promise_is_told_from_one_that_keeps_it() -> None:
    verdict = {"stale": {"redis": 0}, "held": {"redis": 9}, "quiet": True, "published": 9}
    values = {**verdict, "unapplied": {"shop": 0}}
    kept = results.Result(run="stale.drop", mode="journal", seed=1, samples=3, values=values)

    assert not table.broken(kept)
    assert "stale entries" in table.broken(replace(kept, values={**values, "stale": {"redis": 1}}))
    assert "stale entries" in table.broken(replace(kept, values={**values, "held": {"redis": 0}}))
    assert "unapplied" in table.broken(replace(kept, values={**values, "unapplied": {"shop": 1}}))


def test_a_lane_may_be_off_by_a_batch_for_each_kill_of_its_worker_and_by_nothing_else() -> None:
    def is_kept(off: int, kills: int) -> bool:
        account = {"off_by": {"shop/redis": off}, "killed": {"shop": kills, "other": 9}, "batch": {"shop": 40}}
        values = {"stale": {"redis": 0}, "held": {"redis": 9}, "quiet": True, "published": 9, "account": account}
        result = results.Result(run="stale.drop", mode="pubsub", seed=1, samples=3, values=values)
        return "conservation" not in table.broken(result)

    assert is_kept(0, 0)
    assert not is_kept(1, 0)
    assert is_kept(-80, 2)
    assert not is_kept(-81, 2)


def test_an_lru_that_is_shut_for_longer_than_promised_is_told() -> None:
    def said(seconds: float) -> str:
        values = {"shut": [0.01, seconds]}
        return table.broken(results.Result(run="memory", mode="journal", seed=1, samples=2, values=values))

    assert not said(ANSWERS_AGAIN)
    assert "an LRU" in said(ANSWERS_AGAIN + 0.1)


def test_the_percentile_is_of_what_was_measured() -> None:
    assert p99([float(number) for number in range(1, 201)]) == 198.0
    assert p99([1.0, 3.0, 2.0]) == 3.0


def test_every_row_of_the_table_has_a_run() -> None:
    names = {run.name for run in registry.RUNS}

    assert all(any(table.selects(promise, name) for name in names) for promise in PROMISES)
