"""How soon the successor of a killed worker is subscribed, and that its sibling does not notice.

Nobody waits until the successor is ready before the next kill: one that dies after its subscription was confirmed is
replaced at once, too. `unready` counts those, and `held_back` the restarts that were delayed all the same.
"""

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
from chaos.trial import refill
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
        with scene.load():
            scene.under_load(1.0)
            measured = [_spaced(scene, chance) for _ in range(kills)]
            refill(scene)
        verdict = examine(scene)
        unready = kills + len(LANES) - scene.run.logs().count('"worker.ready"')
        held_back = sum('"worker.restarting"' in line and '"delay": 0.0' not in line for line in _log(scene))
    assert sum(verdict.account.killed.values()) == kills, f"not counted as what they were: {verdict}"
    times = [seconds for seconds, _ in measured]
    disturbed = sum(not calm for _, calm in measured)
    values = {"seconds": times, "disturbed": disturbed, "unready": unready, "held_back": held_back}
    return Found(kills, {**values, "verdict": verdict.record()})


def _log(scene: Scene) -> list[str]:
    return scene.run.logs().splitlines()


def _spaced(scene: Scene, chance: random.Random) -> tuple[float, bool]:
    began = time.monotonic()
    outcome = kill(scene, chance.choice(list(LANES)))
    pause(max(0.0, began + chance.uniform(*BETWEEN) - time.monotonic()))
    return outcome


def kill(scene: Scene, worker: str) -> tuple[float, bool]:
    """SIGKILL of this worker.

    Seconds until its successor was subscribed; whether its siblings have the pids that they had.
    """
    wait_until(lambda: set(scene.run.pids_by_name()) == set(LANES), 20, scene.run.logs)
    pids = scene.run.pids_by_name()
    siblings = set(pids.values()) - {pids[worker]}
    with scene.redis() as redis:
        before = subscriptions(redis).get(worker, set())
        began = time.monotonic()
        os.kill(pids[worker], signal.SIGKILL)
        await_new(redis, worker, before)
        seconds = time.monotonic() - began
    return round(seconds, 4), siblings < set(scene.run.pids())


RUNS = (Run("kills", "SIGKILL of a worker", _do),)
