"""The short form of `make gates`: what each verdict follows from, and that each gate can fail."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gates import chaos, load, propagation, rules
from gates.__main__ import judge, main
from gates.buffers import FIELDS, High, limit_of, parsed
from gates.commands import OverdueError, done
from gates.gate import TOO_BUSY, Gate, Verdict, again, settled
from gates.load import Flood
from gates.propagation import Measured
from gates.registry import GATES
from tests.support import required
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from gates.gate import Word

LINE = 1_000
LIMIT = 10 * LINE


@pytest.fixture
def servers() -> None:
    for name in ("redis", "redis-cli", "memcached"):  # redis-benchmark is in the package of redis-cli
        required.require(name)


def measured(code: int = 0, reached: float = 1_000.0, bare: float | None = 0.001, heard: int = 5_000) -> Measured:
    """As if it had been. What bench says of us is in its exit code."""
    lane = {"backend": "near", "published": 5_000, "reached": reached, "seconds": {"p99": 0.06 if code else 0.002}}
    report = {"latency": [lane], "objections": ["p99 is 60 ms"] if code else []}
    return Measured(1_000.0, code, report, "", bare, heard)


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (measured(), "passed"),
        (measured(bare=0.2), "passed"),  # in time on a busy machine is in time
        (measured(bare=None, heard=0), "passed"),
        (measured(code=1), "failed"),
        (measured(code=1, bare=0.0099), "failed"),
        (measured(code=1, bare=0.0101), "busy"),
        (measured(code=1, bare=None, heard=0), "busy"),
        (measured(code=1, heard=4_999), "busy"),  # the bare loop was not well either: it has missed one
        (measured(reached=900.0), "busy"),
        (measured(code=69), "failed"),
        (Measured(1_000.0, 0, {}, "", 0.001, 5_000), "failed"),  # nothing measured is nothing shown
    ],
)
def test_a_late_p99_is_held_against_us_only_if_a_bare_loop_was_well(seen: Measured, word: Word) -> None:
    assert propagation.judged(seen).word == word


def flood(omem: int = 0, received: int = 100_000, gaps: int = 0, *connections: int) -> Flood:
    high = High(ids=set(connections or (1,)))
    high.marks["omem"] = omem
    return Flood(high, received, gaps)


STOPPED = flood(20 * LINE, 0)


@pytest.mark.parametrize(
    ("ours", "bare", "stopped", "word"),
    [
        (flood(LINE - 1), flood(), STOPPED, "passed"),
        (flood(LINE - 1), flood(LINE), STOPPED, "passed"),
        (flood(LINE), flood(), STOPPED, "failed"),
        (flood(LINE), flood(LINE), STOPPED, "busy"),
        (flood(LINE), flood(0, 99_999), STOPPED, "busy"),
        (flood(0, 99_999), flood(), STOPPED, "failed"),
        (flood(0, 100_000, 1), flood(), STOPPED, "failed"),
        (flood(0, 100_000, 0, 1, 2), flood(), STOPPED, "failed"),  # it was disconnected, and has come again
        (flood(), flood(), flood(LINE - 1, 0), "failed"),  # a line that nobody crosses
    ],
)
def test_the_load_passes_only_below_a_line_that_who_stands_still_crosses(
    ours: Flood, bare: Flood, stopped: Flood, word: Word
) -> None:
    assert load.judged(LIMIT, ours, bare, stopped).word == word


def drilled(**other: Any) -> dict[str, Any]:
    kept = {"promise": "nothing is stale", "kept": True, "evidence": "0 of 9"}
    outcome = {"promises": [kept], "entries": 9, "published": 7, **other}
    return {"ok": True, "stale": 0, "outcomes": [outcome, outcome]}


def test_the_drill_passes_only_if_it_has_tried_something_and_kept_everything() -> None:
    broken = {"promise": "a slow path is no gap", "kept": False, "evidence": "deadline 1"}

    assert chaos.judged(0, drilled(), "").word == "passed"
    assert chaos.judged(1, drilled(promises=[broken]), "").said.endswith("a slow path is no gap: deadline 1")
    assert chaos.judged(0, drilled(promises=[broken]), "").word == "failed"
    assert chaos.judged(69, {}, "no server").said == "exit code 69: no server"
    assert chaos.judged(0, drilled(published=0), "").word == "failed"
    assert chaos.judged(0, {"outcomes": drilled()["outcomes"][:1]}, "").word == "failed"


def test_the_rules_pass_only_if_each_of_them_finds_what_it_forbids(tmp_path: Path) -> None:
    found = rules.found_in(tmp_path)

    assert rules.judged(0, "", found).word == "passed"
    assert rules.judged(0, "", found | {"INV002": set()}).said.startswith("shows nothing: INV002 ")
    assert rules.judged(0, "", found | {"INV003": {"INV003", "INV005"}}).word == "failed"
    assert rules.judged(0, "", {}).word == "failed", "of a flake8 without the plugin"
    assert rules.judged(1, "x.py:2:10: INV003 …", found) == Verdict(
        "failed", "x.py:2:10: INV003 …", {"found": 1, "blind": []}
    )


def verdicts(*words: Word) -> list[Verdict]:
    return [Verdict(word, f"{number}") for number, word in enumerate(words)]


def test_only_what_nobody_could_judge_is_tried_again_and_at_the_end_it_has_failed() -> None:
    assert again([], 1)
    assert again(verdicts("busy"), 2)
    assert not again(verdicts("busy", "busy"), 2)
    assert not again(verdicts("failed"), 3)
    assert settled(verdicts("busy", "passed")).word == "passed"
    assert settled(verdicts("busy", "failed")) == Verdict("failed", "1")
    assert settled(verdicts("busy", "busy")) == Verdict("failed", f"{TOO_BUSY}, 2 times: 1")


def test_a_gate_that_breaks_or_lacks_a_program_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(folder: Path) -> Verdict:
        raise RuntimeError(folder.name)

    assert [verdict.word for verdict in judge(Gate("x", "", broken, attempts=3))] == ["failed"]
    assert "RuntimeError" in capsys.readouterr().err
    assert judge(Gate("x", "", broken, lambda: "it is not here")) == [Verdict("failed", "it is not here")]


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(OverdueError, match=r"`python -m http.server 0` has not ended after 0.3 s"):
        done(["http.server", "0"], 0.3, tmp_path)
    assert done(["platform"], 30).returncode == 0


def _says(verdict: Verdict, folder: Path) -> Verdict:
    assert folder.is_dir()
    return verdict


def test_its_exit_code_its_lines_and_its_file_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {verdict.word: verdict for verdict in (Verdict("passed", "so"), Verdict("busy", "so"))}
    gates = [Gate(word, "", partial(_says, verdict), attempts=2) for word, verdict in said.items()]
    monkeypatch.setattr("gates.__main__.GATES", gates)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: str) -> tuple[int, bool, list[str]]:
        file = tmp_path / "gates.json"
        monkeypatch.setattr("sys.argv", ["gates", "--json", str(file), *arguments])
        code = main()
        return code, json.loads(file.read_text())["ok"], capsys.readouterr().out.splitlines()

    code, ok, lines = run()
    assert (code, ok, lines[-1]) == (1, False, "2 gates, failed: busy")
    assert [line.split()[:2] for line in lines[:-1]] == [["passed", "passed"], ["busy", "failed"]]
    assert run("--only", "passed")[:2] == (0, True)
    monkeypatch.setattr("sys.argv", ["gates", "--only", "pased"])
    assert main() == 2
    assert "no gate is called 'pased'; there are passed, busy" in capsys.readouterr().err


def test_what_redis_keeps_for_its_subscribers_is_read_from_client_list() -> None:
    line = "id={} addr=127.0.0.1:5 name= obl=3 oll=2 omem={} tot-mem=9 events=r\n"
    high = High()
    high.take(parsed(line.format(1, 50) + line.format(2, 70)))
    high.take(parsed(line.format(1, 60)))

    assert (high.samples, high.omem, high.ids) == (2, 70, {1, 2})
    assert set(high.marks) == set(FIELDS) - {"id"}
    with pytest.raises(KeyError):
        parsed("id=1 addr=127.0.0.1:5\n")
    setting = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
    assert limit_of(setting) == (32 * 2**20, 8 * 2**20, 60)


@pytest.mark.usefixtures("servers")
def test_a_flood_from_500_clients_is_received_whole_and_who_stands_still_crosses_the_line(tmp_path: Path) -> None:
    verdict = settled(judge(Gate("load", "", lambda _: load.load(tmp_path, messages=40_000), attempts=3)))

    assert verdict.word == "passed", verdict
    assert verdict.figures["received"] == 40_000
    assert verdict.figures["stopped"]["omem"] > verdict.figures["line"] > verdict.figures["ours"]["omem"]


@pytest.mark.usefixtures("servers")
def test_a_worker_that_waits_for_100_ms_does_not_pass(tmp_path: Path) -> None:
    slow = propagation.measure(1_000, 0.6, tmp_path, window="100ms")

    assert slow.bare_heard > 600
    assert slow.code == 1
    assert propagation.judged(slow).word in ("failed", "busy"), "as well as this machine can say just now"


def commands(workflow: str) -> list[str]:
    """Every line that it runs."""
    jobs = yaml.safe_load(workflow)["jobs"].values()
    steps = [step for job in jobs for step in job["steps"] if "run" in step]
    return [line for step in steps for line in step["run"].splitlines()]


def unknown(workflow: str) -> list[str]:
    """What it runs that is neither a target of our Makefile nor a program of ours."""
    targets = set(re.findall(r"^([a-z]+):.*## \S", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    known = []
    for command in commands(workflow):
        words = command.removeprefix("sudo ").split()
        program = REPOSITORY / words[0]
        is_ours = words[0] == "make" and words[1] in targets
        known.append(is_ours or (program.is_file() and program.stat().st_mode & 0o111 != 0))
    return [command for command, is_known in zip(commands(workflow), known, strict=True) if not is_known]


def test_what_the_workflows_run_is_there() -> None:
    workflows = {file.name: file.read_text() for file in (REPOSITORY / ".github" / "workflows").glob("*.yml")}

    assert {name: unknown(text) for name, text in workflows.items()} == {name: [] for name in workflows}
    assert any(command.startswith("make gates") for command in commands(workflows["gates.yml"]))
    assert unknown(workflows["gates.yml"].replace("make gates", "make gate")) == ['make gate ARGS="--json gates.json"']


def test_the_readme_names_every_gate() -> None:
    told = (REPOSITORY / "gates" / "README.md").read_text()
    assert [gate.name for gate in GATES if f"`{gate.name}`" not in told] == []
