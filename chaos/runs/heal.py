"""How long anything stays stale once the network is whole again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from chaos.faults.registry import FAULTS
from chaos.oracle import entries, stale
from chaos.runs.run import Found, Run
from chaos.scene import built, pause
from chaos.trial import merged
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.faults.fault import Fault
    from chaos.runs.run import Task
    from chaos.scene import Scene

OUTAGES = ("redis-stop", "maxclients", "drop", "loss", "reset")
"""Those of the faults in which the network, or Redis, is away for a while."""


def _do(task: Task) -> Found:
    """Each in a scene of its own, with the settings that are the default."""
    faults = [FAULTS[name] for name in OUTAGES if name in FAULTS and not FAULTS[name].missing()]
    seconds: list[float] = []
    for fault in faults[: task.sized(len(faults), 1)]:
        for number in range(task.sized(4, 1)):
            folder = task.folder / f"{fault.name}-{number}"
            folder.mkdir()
            seconds.append(_outage(task, fault, number))
    return Found(len(seconds), {"seconds": seconds})


def _outage(task: Task, fault: type[Fault], number: int) -> float:
    """Seconds from the healing until nothing is stale. The load ends then: nothing new hides what is old."""
    folder = task.folder / f"{fault.name}-{number}"
    setting = merged([fault], mode=task.mode, seed=task.seed + number, rate=task.setting().rate, redis={})
    with built(folder, setting) as scene:
        one = fault(scene, random.Random(task.seed))
        one.prepare()
        try:
            with scene.load():
                scene.under_load(1.0)
                try:
                    one.inject()
                    pause(task.sized(5, 1))
                finally:
                    one.heal()
                    healed = time.monotonic()
            wait_until(lambda: not _stale(scene), 60, scene.run.logs)
            return round(time.monotonic() - healed, 2)
        finally:
            one.clean_up()


def _stale(scene: Scene) -> int:
    return sum(stale(scene, entries(scene, kind)) for kind in scene.caches.addresses)


RUNS = (Run("heal", "a healed network", _do),)
