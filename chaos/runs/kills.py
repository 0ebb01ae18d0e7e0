"""How soon the successor of a killed worker is subscribed, and that its sibling does not notice."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from chaos.oracle import examine
from chaos.runs.run import Found, Run
from chaos.scene import LANES, built, pause
from chaos.subscriptions import await_new, subscriptions
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.runs.run import Task
    from chaos.scene import Scene

BETWEEN = (0.4, 0.6)
"""Seconds from one kill to the next, at least."""


def _do(task: Task) -> Found:
    kills = task.sized(200, 5)
    chance = random.Random(task.seed)
    with built(task.folder, task.setting(seconds=60.0 + kills)) as scene:
        pids = dict(zip(LANES, scene.run.pids(), strict=True))  # they are forked in the topology's order
        with scene.load():
            scene.under_load(1.0)
            measured = [_spaced(scene, pids, chance) for _ in range(kills)]
        verdict = examine(scene)
    times = [seconds for seconds, _ in measured]
    disturbed = sum(not calm for _, calm in measured)
    return Found(kills, {"seconds": times, "disturbed": disturbed, "verdict": verdict.record()})


def _spaced(scene: Scene, pids: dict[str, int], chance: random.Random) -> tuple[float, bool]:
    outcome = kill(scene, pids, chance)
    pause(max(0.0, chance.uniform(*BETWEEN) - outcome[0]))
    return outcome


def kill(scene: Scene, pids: dict[str, int], chance: random.Random) -> tuple[float, bool]:
    """SIGKILL of a worker, by chance; `pids` are by name, and kept up to date.

    Seconds until the victim's successor was subscribed; whether its siblings have the pids that they had.
    """
    worker = chance.choice(list(pids))
    victim = pids.pop(worker)
    siblings = set(pids.values())
    with scene.redis() as redis:
        before = subscriptions(redis).get(worker, set())
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await_new(redis, worker, before)
        seconds = time.monotonic() - began
    wait_until(lambda: len(scene.run.pids()) == len(LANES), 10, scene.run.logs)
    now = set(scene.run.pids())
    (pids[worker],) = now - siblings
    scene.run.wait_ready()  # one that dies before it is ready is held back on purpose, and is another promise's matter
    return round(seconds, 4), siblings < now


RUNS = (Run("kills", "SIGKILL of a worker", _do),)
