"""From PUBLISH until a key is gone. The publisher keeps its pace, whatever becomes of its messages."""

from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import contenders, load
from benchmarks.filling import fill, size
from benchmarks.quantities import percentile
from benchmarks.runs.run import Found, Run
from invalidator.embedded import MemcachedServer
from invalidator.stage.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.contenders import Contender, Scene
    from benchmarks.runs.run import Task


class Pace(NamedTuple):
    """So many messages, at so many a second, so many of them in one write."""

    messages: int
    rate: int
    at_once: int

    def arguments(self, times: Path) -> tuple[str, ...]:
        """For the publisher."""
        return str(self.messages), str(self.rate), str(self.at_once), str(times)

    def latencies(self, times: Path, gone: dict[int, float]) -> list[float]:
        """Seconds for each key that is gone. Not for one that was gone before: in an LRU, two keys may share a word."""
        left = _doubles(times)
        each = (second - left[number // self.at_once] for number, second in gone.items())
        return [seconds for seconds in each if seconds > 0]


class Door(MemcachedServer):
    """The relay before a memcached, in its place."""

    def __init__(self, scene: Scene, child: Child) -> None:
        assert scene.cache is not None
        super().__init__(scene.cache.program, scene.folder, (), unix=False)
        self.port = int(child.listen())


def to_memcached(task: Task, contender: Contender, pace: Pace) -> list[float]:
    """From PUBLISH until memcached has said that the key is gone."""
    with ExitStack() as stack:
        scene = task.scene(stack, contender.cache)
        assert scene.cache is not None
        fill(scene.cache, pace.messages)
        file, times = scene.folder / "gone", scene.folder / "times"
        relay = Child(["benchmarks.relay", str(scene.cache.port), str(file)], scene.folder / "relay.log")
        stack.callback(relay.close)
        door = contenders.Scene(stack, scene.folder, scene.broker, Door(scene, relay))
        running = contender.begin(door)
        load.publisher(stack, scene.folder, scene.broker, *pace.arguments(times)).ask("begin")
        contenders.await_handled(running, pace.messages)
        relay.finish(20)
        pairs = _doubles(file)
        gone = {int(number): second for number, second in zip(pairs[::2], pairs[1::2], strict=True)}
        assert len(gone) == pace.messages, f"{len(gone)} of {pace.messages} were deleted"
        assert size(scene.cache) == 0, "the cache still has some"
        return pace.latencies(times, gone)


def to_lru(task: Task, pace: Pace, look: str) -> list[float]:
    """From PUBLISH until another process misses the key in its own memory, or would: see the observer."""
    with ExitStack() as stack:
        scene = task.scene(stack)
        contenders.OURS_LRU.begin(scene)
        table = str(scene.folder / "near.gen")
        return _watched(stack, scene, pace, ["benchmarks.observer", look, table, str(pace.messages)])


def to_bare(task: Task, pace: Pace) -> list[float]:
    """From PUBLISH until a bare loop has the message, on a machine that is as busy."""
    with ExitStack() as stack:
        scene = task.scene(stack)
        spinner = Child(["benchmarks.observer"], scene.folder / "spinner.log")
        stack.callback(spinner.close)
        port = str(scene.broker.port)
        return _watched(stack, scene, pace, ["benchmarks.hearer", port, contenders.PATTERN, str(pace.messages)])


def _watched(stack: ExitStack, scene: Scene, pace: Pace, program: list[str]) -> list[float]:
    seconds, times = scene.folder / "seconds", scene.folder / "times"
    watcher = Child([*program, str(seconds)], scene.folder / "watcher.log")
    stack.callback(watcher.close)
    watcher.listen()
    publisher = load.publisher(stack, scene.folder, scene.broker, *pace.arguments(times))
    with ThreadPoolExecutor(1) as aside:
        done = aside.submit(watcher.ask, "begin")
        publisher.ask("begin")
        done.result()
    return pace.latencies(times, dict(enumerate(_doubles(seconds))))


def _doubles(file: Path) -> array[float]:
    return array("d", file.read_bytes())


def _found(rounds: int, outcomes: dict[str, list[list[float]]]) -> Found:
    samples = {
        f"{name} {label}": [percentile(seconds, share) for seconds in each]
        for name, each in outcomes.items()
        for label, share in (("p50", 0.5), ("p99", 0.99))
    }
    counted = {name: [len(seconds) for seconds in each] for name, each in outcomes.items()}
    return Found(rounds, {"unit": "s", "samples": samples, "counted": counted})


def _memcached(rate: int, at_once: int, count: int) -> Callable[[Task], Found]:
    def do(task: Task) -> Found:
        pace = Pace(task.sized(count, 1_000), rate, at_once)
        rounds = task.rounds(5)
        ours, bare = contenders.OURS_MEMCACHED, contenders.BARE_PURGING
        return _found(
            rounds,
            task.in_turn(
                rounds,
                {"ours": partial(to_memcached, task, ours, pace), "bare": partial(to_memcached, task, bare, pace)},
            ),
        )

    return do


def _lru(pace: Pace, least: Pace, look: str) -> Callable[[Task], Found]:
    def do(task: Task) -> Found:
        mine, rounds = least if task.short else pace, task.rounds(5)
        parts = {"ours": partial(to_lru, task, mine, look), "bare": partial(to_bare, task, mine)}
        return _found(rounds, task.in_turn(rounds, parts))

    return do


RATES: Sequence[tuple[str, int, int, int]] = (
    ("1k", 1_000, 1, 5_000),
    ("10k", 10_000, 2, 40_000),
    ("100k", 100_000, 20, 300_000),
)
RUNS = (
    *(
        Run(
            f"latency.{name}",
            f"publish to deleted in memcached, {name} a second",
            _memcached(*sizes),
            contenders.no_memcached,
        )
        for name, *sizes in RATES
    ),
    Run(
        "latency.bursts",
        "bursts of 1,000 at 20 a second, to the LRU",
        _lru(Pace(100_000, 20_000, 1_000), Pace(3_000, 20_000, 1_000), "words"),
    ),
    Run("latency.lru", "publish to a miss in another process", _lru(Pace(5_000, 1_000, 1), Pace(500, 1_000, 1), "get")),
)
