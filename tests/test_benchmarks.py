"""The short form of `make bench`: every run does its work, in small; and what is said of its results is so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import results, table
from benchmarks.aims import Always, Bound, Ratio
from benchmarks.chart import drawn
from benchmarks.contenders import CHANNEL, PATTERN, Contender, Scene
from benchmarks.flood import flood
from benchmarks.load import bare, envelope
from benchmarks.quantities import number, percentile, ratios, seconds
from benchmarks.relay import deletions
from benchmarks.rows import ROWS
from benchmarks.runs.registry import RUNS
from benchmarks.runs.run import Task
from tests.support import required

if TYPE_CHECKING:
    from benchmarks.runs.run import Run

QUICK = ("ingest.keys", "purge.memcached", "latency.10k", "latency.bursts", "profile", "hand-off")
"""One of each kind. A daemon's start for each contender adds up: `--every-benchmark` does all runs."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-benchmark")
        chosen = [run for run in RUNS if every or run.name in QUICK]
        metafunc.parametrize("run", chosen, ids=[run.name for run in chosen])


@pytest.fixture
def servers() -> None:
    for name in ("redis", "memcached"):
        required.require(name)


@pytest.mark.usefixtures("servers")
def test_each_run_does_its_work_in_small(run: Run, tmp_path: Path) -> None:
    if why := run.missing():
        pytest.skip(why)
    found = run.do(Task(tmp_path, short=True))

    assert found.rounds == 1
    samples = found.values["samples"]
    assert samples
    assert all(len(rounds) == 1 for rounds in samples.values())
    judged = [aim.judge(samples) for row in ROWS if row.run == run.name for aim in row.aims]
    wanted = {"ingest.peers": {"faststream", "node-redis"}, "purge.varnish": {"aiohttp"}, "purge.nginx": {"aiohttp"}}
    optional = wanted.get(run.name, set()) - samples.keys()  # not there unless somebody has installed them
    assert sum(each.reached is None for each in judged) == len(optional)


class Deaf:
    """A contender that hears nothing after its first message."""

    def handled(self) -> int:
        return 1


@pytest.mark.usefixtures("servers")
def test_who_does_not_handle_all_is_not_said_to_have_received_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.flood.QUIET", 0.1)
    outcome = flood(Task(tmp_path, short=True), Contender("", lambda _: Deaf()), bare(), 1_000)

    assert 0 < outcome.share < 0.01


def measured(ours: float) -> results.Result:
    """As if it had been: ours against a bare loop's 1.0."""
    samples = {"ours": [ours], "bare": [1.0], "limit": [1.0], "ours unhurt": [1.0]}
    environment = {"cores": "2", "kernel": "6", "python": "3", "redis": "7", "load": "1.5"}
    return results.Result(run="ingest.keys", rounds=1, values={"samples": samples}, environment=environment)


def test_the_tables_and_the_picture_are_those_of_the_results() -> None:
    found = results.Result.read(results.COMMITTED)

    for file, text in table.derived(found).items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name} is stale: run `make docs`"
    assert table.derived([measured(0.5)]) != table.derived([measured(0.6)])  # the control


def test_every_row_of_the_table_has_a_run() -> None:
    assert {row.run for row in ROWS} <= {run.name for run in RUNS}


def test_a_ratio_is_of_two_figures_of_one_round() -> None:
    assert ratios([1.0, 4.0, 9.0], [2.0, 4.0, 3.0]) == (1.0, 0.5, 3.0)
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_an_aim_that_was_missed_is_told_from_one_that_was_reached() -> None:
    samples = {"ours": [3.0, 5.0, 4.0], "bare": [4.0, 4.0, 4.0], "whole": [1.0, 0.0]}

    assert Ratio("bare", 1.0).judge(samples) == ("1.0x (0.75 to 1.2)", True)
    assert Ratio("bare", 1.1).judge(samples).reached is False
    assert Ratio("bare", 0.9, most=True).judge(samples).reached is False
    assert Ratio("node-redis", 1.0).judge(samples) == ("not measured", None)
    assert Bound("ours", 4.0, " MiB").judge(samples).reached is True
    assert Bound("ours", 4.5, "/s", most=False).judge(samples).reached is False
    assert Always("whole", "each").judge(samples) == ("1 of 2", False)


def test_a_figure_that_was_missed_is_bold_in_the_table() -> None:
    def row(ours: float) -> str:
        return next(line for line in table.rendered([measured(ours)]).splitlines() if "--only ingest.keys" in line)

    assert "**" not in row(0.9)
    assert "**0.72x**" in row(0.72)


def test_numbers_are_written_for_people() -> None:
    assert [number(value) for value in (1_234_567.0, 45_000.0, 999_990.0, 0.523, 12.0)] == [
        "1.2 M",
        "45 k",
        "1.0 M",
        "0.52",
        "12",
    ]
    assert [seconds(value) for value in (2.0, 0.0123, 45e-6, 148e-9)] == ["2.0 s", "12 ms", "45 µs", "148 ns"]
    assert percentile([float(value) for value in range(1, 101)], 0.5) == 51.0


def test_the_payloads_are_as_long_as_the_rows_say() -> None:
    assert len(envelope(190)) == 190
    assert len(bare(16)) == 16
    assert len(bare(8192)) == 8192


def test_a_message_is_as_long_as_the_bytes_that_redis_sends_for_it() -> None:
    words = (b"pmessage", PATTERN.encode(), CHANNEL.encode(), b"x" * 120)
    sent = b"*4\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    assert Scene(None, Path(), None, payload=120).message == len(sent)  # type: ignore[arg-type]


def test_a_key_is_gone_when_the_answer_that_comes_after_it_is_there() -> None:
    asked = b"mn\r\nmn\r\nmd k:000000001 q\r\nmd k:000000002 q\r\nmn\r\nmd k:000000003 q\r\nmn\r\n"
    answered = [(1.0, b"MN\r\nMN\r\n"), (2.0, b"MN\r\n"), (3.0, b"MN\r\n")]

    assert list(deletions(asked, answered)) == [1.0, 2.0, 2.0, 2.0, 3.0, 3.0]
    assert list(deletions(asked, answered[:2])) == [1.0, 2.0, 2.0, 2.0]  # what was not answered is not gone


def test_the_picture_is_a_whole_svg_with_nothing_measured_too() -> None:
    assert drawn([]).startswith("<svg")
    assert drawn([]).endswith("</svg>\n")
