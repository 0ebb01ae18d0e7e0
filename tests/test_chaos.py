"""The short form of `make chaos`: some faults under a small load, in both modes; and without the guards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos import guards, results, table
from chaos.delivery import MODES
from chaos.faults.broker import ClosedSubscription, KilledRedis, StoppedRedis
from chaos.faults.caches import UnreachableMemcached
from chaos.faults.processes import KilledSupervisor, KilledWorker
from chaos.promises import PROMISES, p99
from chaos.runs import controls, gaps, registry
from chaos.runs.run import Task
from chaos.scene import Setting
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

    assert table.in_text(text, table.rendered(results.read(results.COMMITTED))) == text, "run `make docs`"
    assert table.in_text(text, table.rendered([])) != text  # the control: of other results it would be another


def test_a_result_that_breaks_its_promise_is_told_from_one_that_keeps_it() -> None:
    verdict = {"stale": {"redis": 0}, "held": {"redis": 9}, "quiet": True, "unaccounted": 0, "published": 9}
    values = {**verdict, "unapplied": {"shop": 0}}
    kept = results.Result(run="stale.drop", mode="journal", seed=1, samples=3, values=values)

    assert not table.broken(kept)
    assert "stale entries" in table.broken(replace(kept, values={**values, "stale": {"redis": 1}}))
    assert "stale entries" in table.broken(replace(kept, values={**values, "held": {"redis": 0}}))
    assert "unapplied" in table.broken(replace(kept, values={**values, "unapplied": {"shop": 1}}))
    assert "conservation" in table.broken(replace(kept, values={**values, "unaccounted": 1}))


def test_the_percentile_is_of_what_was_measured() -> None:
    assert p99([float(number) for number in range(1, 201)]) == 198.0
    assert p99([1.0, 3.0, 2.0]) == 3.0


def test_every_row_of_the_table_has_a_run() -> None:
    names = {run.name for run in registry.RUNS}

    assert all(any(table.selects(promise, name) for name in names) for promise in PROMISES)
