"""Distinct keys, from the socket until the cache has forgotten them: nothing coalesces, and at the end it is empty."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import contenders, load
from benchmarks.filling import fill, size
from benchmarks.flood import watched
from benchmarks.publisher import key
from benchmarks.runs.run import Found, Run

if TYPE_CHECKING:
    from benchmarks.contenders import Contender, Scene
    from benchmarks.flood import Outcome
    from benchmarks.runs.run import Task

AT_ONCE = 64
COUNT = 100_000
"""No more than a lane keeps: where the loop hears faster than a cache forgets, the rest would be dead-lettered."""


def purged(task: Task, contender: Contender, count: int) -> Outcome:
    """All of these keys are in the cache; each is published once. AssertionError if one is left that should not be."""
    with ExitStack() as stack:
        scene = task.scene(stack, contender.cache, len(key(0)))
        assert scene.cache is not None
        fill(scene.cache, count)
        assert size(scene.cache) == count, "the cache did not take them all"
        outcome = publish_distinct(scene, contender, count)
        assert outcome.share < 1.0 or size(scene.cache) == 0, f"{size(scene.cache)} keys are still there"
        return outcome


def publish_distinct(scene: Scene, contender: Contender, count: int) -> Outcome:
    """So many keys, one after the other, as fast as Redis takes them."""
    running = contender.begin(scene)
    publisher = load.publisher(scene.stack, scene.folder, scene.broker, str(count), "0", str(AT_ONCE), "")
    with ThreadPoolExecutor(1) as aside:
        began = time.monotonic()
        told = aside.submit(publisher.ask, "begin")
        return watched(scene, running, count, began, told.done)


def _secondary(task: Task) -> Found:
    rounds, count = task.rounds(7), task.sized(COUNT, 10_000)
    outcomes = task.in_turn(
        rounds,
        {
            "ours": partial(purged, task, contenders.OURS_SECONDARY, count),
            "one-by-one": partial(purged, task, contenders.ONE_BY_ONE, task.sized(COUNT // 5, 500)),
        },
    )
    return _found(rounds, outcomes)


def _memcached(task: Task) -> Found:
    rounds, count = task.rounds(7), task.sized(COUNT, 10_000)
    outcomes = task.in_turn(
        rounds,
        {
            "ours": partial(purged, task, contenders.OURS_MEMCACHED, count),
            "bare": partial(purged, task, contenders.BARE_PURGING, count),
        },
    )
    return _found(rounds, outcomes)


def _found(rounds: int, outcomes: dict[str, list[Outcome]]) -> Found:
    samples = {name: [each.whole for each in found] for name, found in outcomes.items()}
    shares = {name: [each.share for each in found] for name, found in outcomes.items()}
    return Found(rounds, {"unit": "keys/s", "samples": samples, "share": shares})


RUNS = (
    Run("purge.redis", "distinct keys, unlinked in a secondary Redis", _secondary),
    Run("purge.memcached", "distinct keys, deleted in memcached", _memcached, contenders.no_memcached),
)
