"""`invalidator demo`: its verdict on a sound daemon, its verdict on one without guards, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator.demo import display
from invalidator.stage import caches, http_cache, oracle, truth, writer
from invalidator.stage.readings import parse
from invalidator.stage.stores import RedisStore
from tests.support.required import require
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.conftest import MakeRedis

DEMO = [sys.executable, "-m", "invalidator", "demo"]


@pytest.fixture(autouse=True, scope="module")
def _a_server() -> None:
    require("redis")


@pytest.fixture
def place(folder: Callable[[str], Path]) -> Path:
    """Where it puts its folder, with sockets in it."""
    return folder("demo")


def demo(folder: Path, *args: str) -> tuple[int, list[str]]:
    environment = {**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1"}
    run = subprocess.run([*DEMO, *args], capture_output=True, text=True, check=False, timeout=90, env=environment)
    assert run.stderr == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", run.stdout), "a control character in what may go into a log"
    return run.returncode, run.stdout.splitlines()


def processes_below(folder: Path) -> list[str]:
    """What still runs with something of this folder on its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_through_a_killed_worker_and_a_cut_subscription_nothing_stays_stale(place: Path) -> None:
    code, lines = demo(place, "--seconds", "3")
    text = "\n".join(lines)
    assert (code, lines[-1]) == (0, "stale entries: 0"), text
    assert re.search(r"^gaps +2 start, 1 disconnect$", text, re.MULTILINE), text
    assert re.search(r"; [1-9][\d,]* found nobody subscribed", text), text
    for kind in ("lru", "redis", "memcached", "http"):
        assert re.search(rf"^{kind} .* [1-9][\d,]* +0$", text, re.MULTILINE) or f"without {kind}" in text, text
    assert list(place.iterdir()) == []
    assert processes_below(place) == []


def test_with_its_guards_off_the_same_run_finds_stale_entries_in_every_cache(place: Path) -> None:
    code, lines = demo(place, "--seconds", "2", "--without-guards")
    assert code == 1
    assert int(lines[-1].removeprefix("stale entries: ").replace(",", "")) > 10
    rows = [line.split() for line in lines[-6:] if line.split()[:1] and line.split()[0] in caches.KINDS]
    assert rows
    assert all(int(cells[-1].replace(",", "")) > 0 for cells in rows), lines


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_it_early_finds_nothing_left_running(place: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        [*DEMO, "--seconds", "60"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert "changes a second" in process.stdout.readline()
        assert len(processes_below(place)) > 3
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode != 0
    assert "Traceback" not in rest
    wait_until(lambda: not processes_below(place), why=lambda: str(processes_below(place)))
    if number != signal.SIGKILL:
        assert list(place.iterdir()) == []


def test_what_is_missing_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "find_memcached", lambda: None)
    with ExitStack() as stack:
        truth.create(tmp_path / "truth", 5)
        found = caches.start_caches(stack, tmp_path, tmp_path / "truth")
    assert "memcached" not in found.addresses
    assert found.addresses
    assert any("memcached" in each for each in found.absent)


@pytest.fixture
def database(tmp_path: Path) -> truth.Truth:
    return truth.Truth(memoryview(bytearray(8 * 12)).cast("Q"))


class RacedStore(RedisStore):
    """A store whose product changes, and is purged, while a refill is on its way into it."""

    def __init__(self, url: str, database: truth.Truth) -> None:
        super().__init__(url)
        self._database = database

    def _put(self, versions: Mapping[str, int]) -> None:
        for key in versions:
            self._database.change(key)
        self._redis.flushall()  # the purge comes, and finds nothing yet
        super()._put(versions)


class CarelessStore(RacedStore):
    """The control: it does not look again after it has stored."""

    def _delete(self, keys: object) -> None:
        pass


@pytest.mark.parametrize(("store", "kept"), [(RacedStore, 0), (CarelessStore, 10)])
def test_a_refill_that_lost_the_race_keeps_nothing(
    redis_server: MakeRedis, database: truth.Truth, store: type[RacedStore], kept: int
) -> None:
    cache = store(redis_server().url, database)
    cache.refill(database.keys, database)
    held = cache.held(database.keys)
    cache.close()
    assert oracle._compare(held, database) == oracle.Finding(held=kept, stale=kept)


def test_a_purge_also_stops_what_is_on_its_way_into_the_http_cache(database: truth.Truth) -> None:
    async def scene() -> tuple[int | None, int | None]:
        cache = http_cache.Cache(database)
        for key in ("product:1", "product:2"):
            assert cache.get(key, only_if_cached=False) == 0
        database.change("product:1")
        assert cache.purge("product:1")
        await asyncio.sleep(http_cache.FETCH * 5)
        return tuple(cache.get(key, only_if_cached=True) for key in ("product:1", "product:2"))  # type: ignore[return-value]

    assert asyncio.run(scene()) == (None, 0)


def test_half_of_the_changes_are_of_products_that_change_only_once() -> None:
    keys = [f"product:{number}" for number in range(100)]
    changed = list(islice(writer.changes(keys, hot=10), 180))
    assert set(changed[::2]) <= set(keys[:10])
    assert changed[1::2] == keys[10:]


def test_quantiles_are_read_between_the_bounds_of_a_histograms_buckets() -> None:
    readings = parse(
        'invalidator_x_bucket{backend="a",le="0.001"} 50\n'
        'invalidator_x_bucket{backend="a",le="0.002"} 100\n'
        'invalidator_x_bucket{backend="a",le="+Inf"} 100\n'
        'invalidator_x_bucket{backend="b",le="+Inf"} 0\n'
        'invalidator_n{worker="w",cause="start"} 2\n'
        'invalidator_n{worker="w",cause="role"} 0\n'
    )
    assert readings.quantile("x", 0.5, backend="a") == pytest.approx(0.001)
    assert readings.quantile("x", 0.99, backend="a") == pytest.approx(0.00198)
    assert readings.quantile("x", 0.5, backend="b") is None
    assert readings.by("n", "cause") == {"start": 2}
    assert (display.milliseconds(None), display.milliseconds(0.0004), display.milliseconds(0.0123)) == (
        "–",
        "0.4 ms",
        "12 ms",
    )
