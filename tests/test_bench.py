"""`invalidator bench`: that its figures are those of the daemon, what makes it say no, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from invalidator.bench import bench, figures, load, publishing, report, results
from invalidator.bench.results import samples
from invalidator.bench.session import Session
from invalidator.bench.subjects import Subject, obstacles
from invalidator.cli import main
from invalidator.errors import UnreachableError
from invalidator.journal.glob import Glob
from invalidator.reply import Reply
from invalidator.screen.paint import plain
from invalidator.screen.text import width
from invalidator.stage.process import Child
from invalidator.status import Failure, Lane, Worker
from invalidator.topology.settings import RedisSettings
from tests.support.daemon import Daemon
from tests.support.gated import Gates
from tests.support.required import require
from tests.support.waiting import free_port, wait_until
from tests.test_demo import processes_below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.stores import RedisServer

SLOW = '''
    """`slow` takes 100 ms for each purge; `dear` says nothing of what a purge of a canary does."""

    import threading

    from invalidator import Backend, BackendOptions, PurgeResult, hookimpl


    class SlowOptions(BackendOptions):
        pass


    class DearOptions(BackendOptions):
        pass


    class Slow(Backend):
        canary = "purge"

        def purge(self, batch):
            threading.Event().wait(0.1)
            return PurgeResult()


    class Dear(Backend):
        def purge(self, batch):
            return PurgeResult()


    @hookimpl
    def backend_types():
        return {"slow": SlowOptions, "dear": DearOptions}


    @hookimpl
    def make_backend(type):
        return {"slow": Slow, "dear": Dear}[type]() if type in ("slow", "dear") else None
'''
QUICK = ("--rate", "200", "--seconds", "0.6", "--burst", "500")
REFUSED = Failure(at=1.0, reason="refused", detail="nobody")
BREAKER = "users → b: breaker open (refused: nobody)"
BRIEF = bench.Plan((200.0,), 0.2, 0, patience=0.4)


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"TMPDIR": str(folder)} if folder else {})}
    command = [sys.executable, "-m", "invalidator", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def measure(target: Daemon | str, plan: bench.Plan = BRIEF, tell: bench.Tell = lambda *_: None) -> bench.Bench:
    return bench.run(target if isinstance(target, str) else bench.Daemon(target.file), plan, tell)


@pytest.fixture
def place(folder: Callable[[str], Path]) -> Path:
    """Where it puts its folders, with sockets in them."""
    return folder("bench")


@pytest.fixture
def slow(folder: Callable[[str], Path], source: RedisServer, daemon: MakeDaemon) -> Daemon:
    """A worker with one backend that takes nothing and one that takes 100 ms; and one whose purges may cost money."""
    plugin = folder("plugin") / "slow.py"
    plugin.write_text(textwrap.dedent(SLOW))
    return daemon(
        {
            "redis": {"url": source.url},
            "plugins": [str(plugin), "log"],
            "backends": {"said": {"type": "log"}, "slow": {"type": "slow"}, "cdn": {"type": "dear"}},
            "workers": [
                {"name": "users", "pattern": "cache:users:*", "backends": ["said", "slow"], "on_gap": "ignore"},
                {"name": "pages", "pattern": "cache:pages:*", "backends": ["said", "cdn"], "on_gap": "ignore"},
            ],
        }
    )


# What is published, and what is made of it


@pytest.mark.parametrize(
    "pattern", ["cache:users:*", "cache:*:x?", "cache:[0-9]:[^a-z]", "plain", "*", r"a\*b:*", "ü:*", "x[", "a**"]
)
def test_its_channel_is_one_that_the_pattern_hears(pattern: str) -> None:
    channel = load.channel_of(pattern)
    assert Glob(pattern).matches(channel) or pattern == "x["
    assert (b"invalidator-bench" in channel) == ("*" in pattern.replace(r"\*", ""))


@pytest.mark.parametrize(("rate", "lanes", "delay"), [(100, 1, 0), (1_000, 2, 0), (10_000, 8, 0), (1_000, 1, 30.0)])
def test_no_lane_is_asked_for_more_receipts_than_it_keeps_in_mind(rate: int, lanes: int, delay: float) -> None:
    what = load.steady(rate, 2.0, lanes, delay, seed=1)
    assert what.count == 2 * rate
    assert list(what.asked) == sorted(set(what.asked))
    assert len(what.asked) <= 2 * min(rate, load.SAMPLES_A_SECOND) + 1
    assert len(what.asked) * lanes <= 2 * load.RECEIPTS_A_SECOND + lanes
    assert len(what.asked) * delay / 2 <= 1_000
    assert len(what.asked) >= min(2 * rate, 30)


def test_a_percentile_is_a_value_that_was_measured_and_takes_enough_of_them() -> None:
    values = [float(value) for value in range(1, 1001)]
    assert figures.summary(reversed(values)) == {
        "p50": 500.0,
        "p90": 900.0,
        "p99": 990.0,
        "p99.9": 999.0,
        "max": 1000.0,
    }
    assert figures.summary(values[:999])["p99.9"] is None
    assert figures.summary(values[:100])["p99"] == 99.0
    assert figures.summary(values[:99])["p99"] is None
    assert figures.summary([]) == dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"))


def test_buckets_hold_every_sample_once() -> None:
    values = [0.0, 0.0001, 0.000101, 0.0002, 0.00021, 0.05, 1.2]
    upper = figures.bounds(values)
    assert upper[0] == 1e-6
    assert upper[-1] == 2.0
    found = dict(zip(upper, figures.counts(values, upper), strict=True))
    assert {bound: count for bound, count in found.items() if count} == {
        1e-6: 1,
        0.0001: 1,
        0.0002: 2,
        0.0005: 1,
        0.05: 1,
        2.0: 1,
    }


def test_a_message_that_goes_out_late_is_late_from_where_it_should_have_been() -> None:
    def said(number: int, at: float, outcome: Any = "purged") -> Reply:
        return Reply(id=str(number), host="h", worker="w", instance="i", backend="b", outcome=outcome, at=at)

    answers = {0: said(0, 100.25), 5: said(5, 100.75), 7: said(7, 101.0, "dead")}
    found = samples("b", (0, 5, 7, 9), answers, 100.0, 10.0)
    assert found.seconds == pytest.approx((0.25, 0.25))
    assert (found.ends, found.lost) == ({"dead": 1}, 1)


def test_the_publisher_goes_on_at_its_pace_while_redis_stands_still(source: RedisServer, tmp_path: Path) -> None:
    child = Child(["invalidator.bench.publishing"], tmp_path / "log")
    again = threading.Timer(0.7, source.cont)
    try:
        order = publishing.Order(redis={"url": source.url}, channel=b"cache:x", reply="", nonce="n", keys=10)
        child.ask(msgspec.json.encode(order).decode())
        source.stop()
        again.start()
        began = time.monotonic()
        task = publishing.Task(name="t", count=250, rate=1000.0, asked=())
        done = msgspec.convert(child.ask(msgspec.json.encode(task).decode()), publishing.Done)
        took = time.monotonic() - began
    finally:
        again.cancel()
        again.join()
        source.cont()
        child.close()
    assert (done.error, took > 0.65) == ("", True)
    assert 0.249 <= done.ended - done.began < 0.6, "a closed loop would have waited for the first answer"


@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal_all_fits_and_every_sample_is_a_part_of_a_bar(columns: int) -> None:
    names = ("near", "objects-of-a-long-name-that-nobody-would-choose", "edge", "cdn", "replica")
    spread = tuple(0.0001 * (number + 1) for number in range(1000))
    lanes = tuple(results.Samples(name, 1002, spread, {"dead (refused)": 1}) for name in names)
    series = results.Series("users", 1e4, 9e3, 50_000, 50_000, (0.001, 0.2), 0.0, lanes)
    burst = results.Burst("users", 20_000, 0.1, dict.fromkeys(names, 0.2), dict.fromkeys(names, 20_000), 0.3)
    subject = Subject("users", b"", RedisSettings.model_validate({"url": "redis://x"}), dict.fromkeys(names, "log"))
    found = bench.Bench(BRIEF, (subject,), {}, results.Results([series], [burst]))
    where = {"cores": 2, "load": 0.1, "system": "Linux", "python": "3", "redis": {"x": None}, "hiredis": "3"}
    wrong = results.objections(found.results, 0.05, 5.0)

    text = [plain(line) for line in report.drawn(found, where, wrong, columns)]

    assert max(map(width, text)) <= columns
    (near,) = [line for line in text if line.startswith("near ")]
    assert near.split() == ["near", "9,000/s", "1,000", "50", "ms", "90", "ms", "99", "ms", "100", "ms", "100", "ms"]
    bars = [line.split()[1:] for line in text if re.match(r" *< \d+ (us|ms) ", line)]
    assert sum(int(number) for bar in bars for number in bar if number.isdecimal()) >= 1000 * len(names)
    assert any("the publisher reached 9,000/s only" in line for line in text)
    assert wrong[:3] == [
        "users → near at 10.0k/s: 1 of 1,002 samples not answered within 5 s",
        "users → near at 10.0k/s: 1 sample ended as dead (refused)",
        "users → near at 10.0k/s: p99 is 99 ms, 49 ms more than 50ms",
    ]


# What it says of a daemon


def test_a_backend_that_takes_100_ms_shows_it_and_fails_the_assertion(slow: Daemon) -> None:
    done = run("-c", str(slow.file), *QUICK, "--assert-p99", "10ms", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["assert_p99"]) == (1, False, 0.01), done
    (objection,) = [text for text in said["objections"] if "slow" in text]  # on a busy machine the other has one, too
    assert re.fullmatch(r"users → slow at 200/s: p99 is \d+ ms, \d+ ms more than 10ms", objection), objection
    near, far = said["latency"]
    assert (near["backend"], near["samples"], near["lost"]) == ("said", 120, 0)
    assert far["seconds"]["p50"] > 0.1
    assert 0 < near["seconds"]["p50"] < far["seconds"]["p50"] - 0.05
    assert said["throughput"][1]["received"] == [500, 500, 500]
    assert min(said["throughput"][1]["seconds"]) > 0.1
    assert said["left_out"] == {
        "pages": "a purge of cdn may cost money, or more than its key; --worker pages measures it all the same"
    }
    assert shape(said) == SHAPE, "programs read it: a field may be added here, and none goes"


SHAPE = {
    "": "ok objections assert_p99 measured_by measured environment latency throughput left_out notes",
    "environment": "cores load system python invalidator redis_py hiredis redis",
    "latency": "worker backend type rate reached published heard asked samples lost ends seconds publisher_late",
    "seconds": "p50 p90 p99 p99.9 max",
    "throughput": "worker backend type keys received purged_per_second published_per_second worker_cpu_per_key seconds",
}


def shape(said: dict[str, Any]) -> dict[str, str]:
    latency, throughput = said["latency"][0], said["throughput"][0]
    parts = {"environment": said["environment"], "latency": latency, "seconds": latency["seconds"]}
    return {name: " ".join(part) for name, part in {"": said, **parts, "throughput": throughput}.items()}


def test_a_gap_while_it_measures_makes_it_say_no(slow: Daemon, source: RedisServer) -> None:
    cut: list[str] = []
    with redis.Redis.from_url(source.url) as client:

        def cut_once(step: str, _: str) -> None:
            if "/s" in step and not cut:
                cut.append(step)
                (subscription,) = [one for one in client.client_list() if one["name"] == "invalidator:users"]
                client.client_kill_filter(_id=subscription["id"])

        found = measure(slow, bench.Plan((200.0,), 1.0, 0, ("users",), patience=0.5), cut_once)
    assert cut
    assert found.results.gaps == {"users": {"disconnect": 1}}
    said = results.objections(found.results, None, 0.5)
    assert "users: 1 gap meanwhile (disconnect 1): messages may have been missed" in said


def test_purges_that_do_not_end_are_lost_samples_and_then_no_answer_and_neither_is_waited_for(
    source: RedisServer, daemon: MakeDaemon, folder: Callable[[str], Path]
) -> None:
    gates = Gates(folder("plugin"))
    running = daemon(gates.topology(source, "users"))
    plan = replace(BRIEF, workers=("users",), seconds=0.5, burst=100, bursts=1)
    try:
        found = measure(running, plan, lambda step, _: gates.close("purge") if "/s" in step else None)
        lost, burst = results.objections(found.results, None, plan.patience)
        assert re.fullmatch(r"users → gated at 200/s: \d+ of 100 samples not answered within 0\.4 s", lost)
        assert burst == "users → gated, a burst: the last of 100 keys was not purged within 0.4 s"
        with pytest.raises(UnreachableError, match=r"no answer within 0\.4 s: users → gated: "):
            measure(running, plan)
    finally:
        gates.open("purge")


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({}, []),
        ({"paused": True}, ["users is paused, and purges nothing: invalidator resume"]),
        ({"subscribed": False, "trouble": REFUSED}, ["users is RUNNING, not subscribed (refused: nobody)"]),
        ({"state": "BACKOFF"}, ["users is BACKOFF"]),
        ({"lanes": (Lane(backend="b", type="log", breaker="open", last_failure=REFUSED),)}, [BREAKER]),
        (
            {"lanes": (Lane(backend="b", type="log", pending=10_001),)},
            ["users → b has 10,001 targets to purge already"],
        ),
        ({"lanes": (Lane(backend="b", type="log", dry_run=True),)}, ["users is on a dry run in all of its backends"]),
    ],
)
def test_what_stands_in_the_way_is_told_before_anything_is_published(worker: dict[str, Any], said: list[str]) -> None:
    sound: dict[str, Any] = {"state": "RUNNING", "subscribed": True, "lanes": (Lane(backend="b", type="log"),)}
    assert list(obstacles(Worker(name="users", pattern="cache:*", **(sound | worker)))) == said


def test_without_a_daemon_it_says_how_to_have_one(source: RedisServer, folder: Callable[[str], Path]) -> None:
    absent = Daemon(folder("daemon"), {"redis": {"url": source.url}, **WORDS})
    with pytest.raises(UnreachableError, match=rf"invalidator run -c {absent.file}.*--url URL"):
        measure(absent)


WORDS: Mapping[str, Any] = {
    "backends": {"said": {"type": "log"}},
    "workers": [{"name": "users", "pattern": "cache:users:*", "backends": ["said"], "on_gap": "ignore"}],
}


def test_a_right_that_is_missing_is_named(redis_server: MakeRedis, tmp_path: Path) -> None:
    deaf = ("--user", "deaf", "on", ">pw", "~*", "+@all", "resetchannels", "&cache:*")
    mute = ("--user", "mute", "on", ">pw", "~*", "+@all", "&*", "-publish")
    url = redis_server(*deaf, *mute).url

    def first_message(user: str) -> None:
        settings = RedisSettings.model_validate({"url": url.replace("://", f"://{user}:pw@")})
        session = Session(Subject("users", b"cache:x", settings, {"b": "log"}), "host", 0.1)
        with session.opened(tmp_path):
            session.introduce("")

    with pytest.raises(UnreachableError, match=r"receipts cannot be heard .*ACL SETUSER deaf .*&invalidator:reply"):
        first_message("deaf")
    with pytest.raises(UnreachableError, match=r"could not publish .*ACL SETUSER mute \+publish &cache:x"):
        first_message("mute")


# With a daemon of its own


def test_on_a_redis_alone_it_brings_its_own_daemon_and_leaves_nothing_behind(source: RedisServer, place: Path) -> None:
    require("memcached")
    done = run("--url", source.url, *QUICK, "--assert-p99", "10s", folder=place)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "ok"), done
    assert [line.split()[:2] for line in lines[:2]] == [["latency", "bench"]] * 2
    assert "reached=200/s samples=120 lost=0 p50=" in lines[0]
    assert done.stderr.splitlines()[-1] == "bench, a burst of 500 keys"
    assert list(place.iterdir()) == []
    assert processes_below(place) == []
    with redis.Redis.from_url(source.url) as client:
        assert client.keys("*") == []


def test_interrupted_it_leaves_nothing_behind(source: RedisServer, place: Path) -> None:
    command = [sys.executable, "-m", "invalidator", "bench", "--url", source.url, "--rate", "100", "--seconds", "60"]
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as done:
        assert done.stderr is not None
        try:
            wait_until(lambda: "at 100/s" in done.stderr.readline(), 20)  # type: ignore[union-attr]
            done.send_signal(signal.SIGINT)
            out, _ = done.communicate(timeout=20)
        finally:
            done.kill()
    assert (done.returncode, out) == (130, "")
    assert list(place.iterdir()) == []
    assert processes_below(place) == []
    with redis.Redis.from_url(source.url) as client:
        assert client.keys("*") == []


def test_a_redis_that_is_not_there_is_told_before_anything_is_started() -> None:
    with pytest.raises(UnreachableError, match=r"^redis://127.0.0.1:\d+/0 cannot be used: .*refused"):
        measure(f"redis://127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "say -c FILE"),
        (("--url", "redis://x", "-c", "y"), 2, "say -c FILE"),
        (("--url", "http://x"), 2, "Invalid value for --url"),
        (("--url", "redis://x", "--assert-p99", "50"), 2, "is not a duration"),
    ],
)
def test_a_wrong_call_says_why(
    arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == code
    shown = capsys.readouterr()
    assert (shown.out, said in shown.err) == ("", True), shown
