"""How soon a Redis that says nothing any more is given up, with the heartbeat that is the default."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime
from typing import TYPE_CHECKING

from chaos.faults.broker import StoppedRedis
from chaos.runs.run import Found, Run
from chaos.scene import LANES, built
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.runs.run import Task
    from chaos.scene import Scene

DEADLINE = 3.0
"""Seconds: heartbeat.deadline, unless a topology says otherwise."""


def _do(task: Task) -> Found:
    times = task.sized(20, 1)
    seconds: list[float] = []
    with built(task.folder, task.setting(seconds=60.0 + 10 * times)) as scene:
        fault = StoppedRedis(scene, random.Random(task.seed))
        with scene.load():
            scene.under_load(1.0)
            for _ in range(times):
                seconds += _hang(scene, fault)
                scene.under_load(0.5)
    return Found(len(seconds), {"deadline": DEADLINE, "seconds": seconds})


def _hang(scene: Scene, fault: StoppedRedis) -> list[float]:
    """For each worker, the seconds from the stop until it gave up. The last byte came before the stop."""
    known = len(list(_given_up(scene)))
    began = time.time()
    try:
        fault.inject()
        wait_until(lambda: len(list(_given_up(scene))) >= known + len(LANES), DEADLINE + 10, scene.run.logs)
    finally:
        fault.heal()
    fault.recovered()
    return [round(at - began, 3) for at in list(_given_up(scene))[known : known + len(LANES)]]


def _given_up(scene: Scene) -> Iterator[float]:
    """The wall seconds at which a connection was given up because of its deadline, from the daemon's log."""
    for line in scene.run.logs().splitlines():
        if '"redis.lost"' in line and '"deadline"' in line:
            yield datetime.fromisoformat(json.loads(line)["time"]).timestamp()


RUNS = (Run("hang", "a silent Redis", _do),)
