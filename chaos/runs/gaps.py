"""Faults that make a gap, one after the other, against what the daemon counts; and none where there was no fault."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

from chaos.faults.broker import ClosedSubscription
from chaos.oracle import examine, total
from chaos.runs.kills import kill
from chaos.runs.run import Found, Run
from chaos.scene import LANES, built, pause
from chaos.subscriptions import await_new, subscriptions
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.runs.run import Task
    from chaos.scene import Scene

KILLS = 0.2
"""The share of faults that are SIGKILLs."""
_QUICK = ClosedSubscription.setting["redis"]


def injected(task: Task) -> Found:
    """Each fault ends one subscription: by CLIENT KILL of one connection, or by SIGKILL of one worker, by chance."""
    faults = task.sized(500, 20)
    chance = random.Random(task.seed)
    with built(task.folder, task.setting(rate=task.sized(1_000, 300), seconds=60.0 + faults, redis=_QUICK)) as scene:
        before = _gaps(scene)
        pids = dict(zip(LANES, scene.run.pids(), strict=True))
        with scene.load():
            for number in range(1, faults + 1):
                _one(scene, pids, chance)
                with suppress(AssertionError):  # then it is counted too few, and that is the result
                    wait_until(lambda number=number: _gaps(scene) >= before + number, 10)  # type: ignore[misc]
        verdict = examine(scene)
        counted = _gaps(scene) - before
    return Found(faults, {"injected": faults, "counted": counted, "verdict": verdict.record()})


def _one(scene: Scene, pids: dict[str, int], chance: random.Random) -> None:
    if chance.random() < KILLS:
        kill(scene, pids, chance)
        return
    worker = chance.choice(list(LANES))
    with scene.redis() as redis:
        old = subscriptions(redis)[worker]
        for client in old:
            redis.client_kill_filter(_id=str(client))
        await_new(redis, worker, old)


def _clean(task: Task) -> Found:
    """No fault at all, ten minutes long, at five times the load."""
    seconds = task.sized(600, 3)
    with built(task.folder, task.setting(rate=task.sized(10_000, 2_000), seconds=seconds + 30.0)) as scene:
        before = _gaps(scene)
        with scene.load():
            for _ in range(seconds):
                pause(1.0)
        verdict = examine(scene)
        false = _gaps(scene) - before
    return Found(
        1, {"minutes": seconds / 60, "false": false, "rate": verdict.published / seconds, "verdict": verdict.record()}
    )


def _gaps(scene: Scene) -> int:
    return total(scene.run.metrics(), "gaps_total")


RUNS = (Run("gaps", "injected gaps", injected), Run("clean", "clean load", _clean))
