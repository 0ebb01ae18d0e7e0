"""A hit in the LRU, which asks whether it is still true; against a cache that does not, and against asking Redis."""

from __future__ import annotations

import functools
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis

from benchmarks import contenders
from benchmarks.runs.run import Found, Run
from invalidator_lru import LRUCache
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runs.run import Task

KEY = "users:42"
_LOOP = 1_000


@functools.lru_cache(maxsize=1_000)
def _remembered(key: str) -> str:
    return f"what {key} is"


def _do(task: Task) -> Found:
    rounds, calls = task.rounds(7), task.sized(200_000, 2_000)
    with ExitStack() as stack:
        scene = task.scene(stack)
        contenders.OURS_LRU.begin(scene)
        cache = LRUCache(scene.folder / "near.gen", maxsize=1_000)
        wait_until(cache.is_proven)
        assert cache.set(KEY, _remembered(KEY))
        client = stack.enter_context(redis.Redis(port=scene.broker.port, socket_timeout=5))
        client.set(KEY, _remembered(KEY))
        samples = task.in_turn(
            rounds,
            {
                "ours": lambda: _seconds(cache.get, calls),
                "lru_cache": lambda: _seconds(_remembered, calls),
                "get": lambda: _seconds(client.get, max(_LOOP, calls // 100)),
            },
        )
        assert cache.stats().misses < calls / 100, "these were not hits"
        return Found(rounds, {"unit": "s", "samples": samples})


def _seconds(call: Callable[[str], object], calls: int) -> float:
    """Of one call. The loop around it is a part of each, and the same for all."""
    began = time.perf_counter()
    for _ in range(calls):
        call(KEY)
    return (time.perf_counter() - began) / calls


RUNS = (Run("hit", "an LRU hit, against functools.lru_cache and GET", _do),)
