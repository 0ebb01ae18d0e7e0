"""Cost as the work grows: one thing is made larger, all else stays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import contenders, load
from benchmarks.contenders import Contender, Ours
from benchmarks.flood import flood
from benchmarks.runs.run import Found, Run
from invalidator.stage.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.contenders import Scene
    from benchmarks.flood import Outcome
    from benchmarks.runs.run import Task

PAYLOADS = (16, 64, 256, 1024, 8192)
DISTINCT = (1, 100, 10_000, 1_000_000)
BACKENDS = (1, 2, 4, 8)
PROCESSES = (1, 10, 100, 1000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)


def _grown(task: Task, sizes: Mapping[int, Callable[[], Outcome]]) -> Found:
    """Messages a second of one worker; of several, of each: all of them hear every message."""
    rounds = task.rounds(3)
    chosen = {str(size): part for size, part in sizes.items() if not task.short or size in (min(sizes), 2)}
    outcomes = task.in_turn(rounds, chosen)
    samples = {name: [each.live for each in found] for name, found in outcomes.items()}
    unhurt = {name: sum(each.share == 1.0 and not each.gaps for each in found) for name, found in outcomes.items()}
    return Found(rounds, {"unit": "messages/s", "samples": samples, "unhurt": unhurt})


def _payload(task: Task) -> Found:
    def part(length: int) -> Outcome:
        most = 400_000_000 // (length + 200)
        return flood(task, contenders.OURS_LRU, load.bare(length), task.sized(min(1_000_000, most), 5_000))

    return _grown(task, {length: partial(part, length) for length in PAYLOADS})


def _keys(task: Task) -> Found:
    def part(keys: int) -> Outcome:
        return flood(task, contenders.OURS_LRU, load.bare(), task.sized(1_000_000, 5_000), keys=keys)

    return _grown(task, {keys: partial(part, keys) for keys in DISTINCT})


def _several(scene: Scene, backends: int) -> Ours:
    tables = {
        f"near{number}": {"type": "lru", "path": str(scene.folder / f"{number}.gen")} for number in range(backends)
    }
    return Ours(scene, tables)


def _backends(task: Task) -> Found:
    def part(backends: int) -> Outcome:
        contender = Contender("", lambda scene: _several(scene, backends))
        return flood(task, contender, load.bare(), task.sized(1_000_000, 5_000))

    return _grown(task, {backends: partial(part, backends) for backends in BACKENDS})


def _workers(task: Task) -> Found:
    def part(workers: int) -> Outcome:
        contender = Contender("", lambda scene: Ours(scene, contenders.lru(scene), workers))
        return flood(task, contender, load.bare(), task.sized(400_000 // workers, 5_000))

    return _grown(task, {workers: partial(part, workers) for workers in WORKERS})


def _read_by(scene: Scene, processes: int) -> Ours:
    ours = Ours(scene, contenders.lru(scene))
    readers = Child(
        ["benchmarks.readers", str(scene.folder / "near.gen"), str(processes)], scene.folder / "readers.log"
    )
    scene.stack.callback(readers.close)
    readers.listen()
    return ours


def _processes(task: Task) -> Found:
    def part(processes: int) -> Outcome:
        contender = Contender("", lambda scene: _read_by(scene, processes))
        return flood(task, contender, load.bare(), task.sized(1_000_000, 5_000))

    return _grown(task, {processes: partial(part, processes) for processes in PROCESSES})


RUNS = (
    Run("growth.payload", "bytes in a payload", _payload, load.missing),
    Run("growth.keys", "distinct keys", _keys, load.missing),
    Run("growth.backends", "LRU backends of one worker", _backends, load.missing),
    Run("growth.processes", "application processes that share one table", _processes, load.missing),
    Run("growth.workers", "workers that hear the same", _workers, load.missing),
)
