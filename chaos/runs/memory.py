"""How long an application's own memory serves nothing after a gap, under load.

It asks the table that the daemon writes, as any application does that maps it: nothing else tells when a hit is one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from chaos.oracle import examine
from chaos.runs.gaps import gaps_of
from chaos.runs.run import Found, Run
from chaos.scene import built, pause
from chaos.subscriptions import subscriptions
from chaos.trial import refill
from invalidator_lru import LRUCache
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.runs.run import Task
    from chaos.scene import Scene

FEEDER = "memory"
BETWEEN = (0.5, 1.5)
"""Seconds of answers from one gap to the next."""
PATIENCE = 60.0


def shut(task: Task) -> Found:
    """Every second gap is one of the connection's, by CLIENT KILL; the others are the worker's own, by SIGKILL."""
    gaps = task.sized(20, 2)
    chance = random.Random(task.seed)
    with built(task.folder, task.setting(seconds=60.0 + 5 * gaps)) as scene:
        with scene.load():
            scene.under_load(1.0)
            seconds = [_shut_for(scene, chance, closed=number % 2 == 0) for number in range(gaps)]
            refill(scene)
        verdict = examine(scene)
    return Found(gaps, {"shut": seconds, "verdict": verdict.record()})


def _shut_for(scene: Scene, chance: random.Random, *, closed: bool) -> float:
    """Seconds from the fault to the last moment at which memory did not serve. The gap has to be counted by then."""
    cache = LRUCache(scene.caches.addresses["lru"])
    wait_until(cache.is_proven, PATIENCE, scene.run.logs)
    pause(chance.uniform(*BETWEEN))
    before, pid = gaps_of(scene), scene.run.pids_by_name()[FEEDER]
    shut = began = time.monotonic()
    if closed:
        _close(scene)
    else:
        os.kill(pid, signal.SIGKILL)
    while not (serves := _serves(scene)) or gaps_of(scene) == before:
        if not serves:
            shut = time.monotonic()
        assert time.monotonic() - began < PATIENCE, f"memory does not serve again: {scene.run.logs()[-2000:]}"
        pause(0.001)
    return round(shut - began, 4)


def _close(scene: Scene) -> None:
    with scene.redis() as redis:
        for client in subscriptions(redis)[FEEDER]:
            redis.client_kill_filter(_id=str(client))


def _serves(scene: Scene) -> bool:
    # A cache of its own each time: one that has found the table shut looks at it again only after a while.
    return LRUCache(scene.caches.addresses["lru"]).is_proven()


RUNS = (Run("memory", "an LRU after a gap", shut),)
