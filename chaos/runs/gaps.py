"""Faults that make a gap, one after the other, against what the daemon counts; and none where there was no fault."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from chaos.conservation import total
from chaos.faults.broker import QUICK
from chaos.interruptions import KINDS
from chaos.oracle import examine
from chaos.runs.run import Found, Run
from chaos.scene import built, pause
from chaos.trial import refill
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.interruptions import Interruption
    from chaos.runs.run import Task
    from chaos.scene import Scene


def injected(task: Task) -> Found:
    """As many gaps as that, of all kinds that this machine can do, by chance, but each of them at least once."""
    goal = task.sized(500, 20)
    chance = random.Random(task.seed)
    setting = task.setting(rate=task.sized(1_000, 300), seconds=60.0 + goal, way="user", **QUICK)
    with built(task.folder, setting) as scene:
        kinds = [kind(scene, chance) for kind in KINDS if not kind.missing()]
        before = gaps_of(scene)
        made: Counter[str] = Counter()
        with scene.load():
            scene.under_load(0.5)
            while (left := goal - made.total()) > 0:
                kind = _next(kinds, made, left, chance)
                made[kind.title] += kind.strike()
                with suppress(AssertionError):  # then it is counted too few, and that is the result
                    wait_until(lambda: gaps_of(scene) >= before + made.total(), 10)
            refill(scene)
        verdict = examine(scene)
        counted = gaps_of(scene) - before
    values = {"injected": made.total(), "counted": counted, "kinds": dict(made), "verdict": verdict.record()}
    return Found(made.total(), values)


def _next(kinds: list[Interruption], made: Counter[str], left: int, chance: random.Random) -> Interruption:
    for kind in kinds:
        if not made[kind.title]:
            return kind
    fitting = [kind for kind in kinds if kind.cost <= left]
    return chance.choices(fitting, [kind.share for kind in fitting])[0]


def _clean(task: Task) -> Found:
    """No fault at all, ten minutes long, at five times the load."""
    seconds = task.sized(600, 3)
    with built(task.folder, task.setting(rate=task.sized(10_000, 2_000), seconds=seconds + 30.0)) as scene:
        before = gaps_of(scene)
        with scene.load():
            for _ in range(seconds):
                pause(1.0)
        verdict = examine(scene)
        false = gaps_of(scene) - before
    return Found(
        1, {"minutes": seconds / 60, "false": false, "rate": verdict.published / seconds, "verdict": verdict.record()}
    )


def gaps_of(scene: Scene) -> int:
    """How many the daemon has counted so far."""
    return total(scene.run.metrics(), "gaps_total")


RUNS = (Run("gaps", "injected gaps", injected), Run("clean", "clean load", _clean))
