"""How long anything stays stale once the network is whole again."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
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

OUTAGES = {"sentinel-kill": 0, "redis-stop": 5, "maxclients": 5, "drop": 5, "delay": 5, "loss": 5, "reset": 5}
"""Those of the faults in which the network, or Redis, is away, and for how many seconds.

A failover is over at once: its `inject` returns as soon as there is another master, and the rest is the daemon's.
"""


def _do(task: Task) -> Found:
    """Each in a scene of its own, with the settings that are the default."""
    faults = [FAULTS[name] for name in OUTAGES if name in FAULTS and not FAULTS[name].missing()]
    seconds: dict[str, list[float]] = {fault.name: [] for fault in faults}
    for fault in faults[: task.sized(len(faults), 1)]:
        for number in range(task.sized(4, 1)):
            folder = task.folder / f"{fault.name}-{number}"
            folder.mkdir()
            seconds[fault.name].append(_outage(task, fault, number))
    measured = [each for outages in seconds.values() for each in outages]
    return Found(len(measured), {"seconds": measured, "outages": seconds})


def _outage(task: Task, fault: type[Fault], number: int) -> float:
    """Seconds from the healing until nothing is stale. The load ends then: nothing new hides what is old."""
    folder = task.folder / f"{fault.name}-{number}"
    setting = merged([fault], mode=task.mode, seed=task.seed + number, rate=task.setting().rate, redis={})
    seconds = OUTAGES[fault.name]
    with built(folder, setting) as scene, ExitStack() as stack:
        one = fault(scene, random.Random(task.seed))
        stack.callback(one.clean_up)
        one.prepare()
        with scene.load(), ExitStack() as ill:
            scene.under_load(1.0)
            ill.callback(one.heal)
            one.inject()
            pause(task.sized(seconds, min(seconds, 1)))
            healed = time.monotonic()
            if not seconds:  # the old master need not come back, and is not waited for
                stack.callback(ill.pop_all().close)
        wait_until(lambda: not _stale(scene), 60, scene.run.logs)
        return round(time.monotonic() - healed, 2)


def _stale(scene: Scene) -> int:
    return sum(stale(scene, entries(scene, kind)) for kind in scene.caches.addresses)


RUNS = (Run("heal", "a healed network", _do),)
