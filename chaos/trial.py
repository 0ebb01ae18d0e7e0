"""One trial: faults under load, and what the oracle finds when they are over and all is quiet."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.oracle import examine
from chaos.scene import Setting, built
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from chaos.delivery import Mode
    from chaos.faults.fault import Fault
    from chaos.oracle import Verdict
    from chaos.scene import Scene

BETWEEN = (0.3, 0.8)
"""Seconds of load between two faults, by chance."""
REFILL = 1.5
"""Seconds of load after the last of them: beyond the second over which flushes are spread, or nothing would be left."""


def merged(faults: Iterable[type[Fault]], **own: Any) -> Setting:
    """The setting that all of these faults ask for."""
    wanted: dict[str, Any] = {}
    for fault in faults:
        for name, value in fault.setting.items():
            wanted[name] = {**wanted.get(name, {}), **value} if isinstance(value, dict) else value
    return Setting(**{**wanted, **own})


def trial(folder: Path, faults: Sequence[type[Fault]], times: int | None, setting: Setting) -> Verdict:
    """Each fault `times` times (None: as often as it says itself) in a scene of their own; the verdict on all of it."""
    with built(folder, setting) as scene:
        return strike(scene, faults, times)


def strike(scene: Scene, faults: Sequence[type[Fault]], times: int | None) -> Verdict:
    """The same in a scene that stands."""
    chance = random.Random(scene.setting.seed)
    ready = [fault(scene, chance) for fault in faults]
    with ExitStack() as stack:
        for fault in ready:
            stack.callback(fault.clean_up)
            fault.prepare()
        with scene.load():
            scene.under_load(1.0)
            for fault in ready:
                for _ in range(times or fault.times):
                    fault.strike()
                    scene.under_load(chance.uniform(*BETWEEN))
            refill(scene)
    return replace(examine(scene), seen={fault.name: fault.seen for fault in ready})


def refill(scene: Scene) -> None:
    """Load after the last fault, until every cache holds something: of an empty one the oracle can say nothing."""
    scene.under_load(REFILL)
    # Memory answers again only when all is known; the others are refilled by then.
    wait_until(lambda: scene.application.ask("served"), 60, lambda: f"the LRU is shut: {scene.run.logs()[-2000:]}")


def seed_of(mode: Mode, name: str, seed: int) -> int:
    """The seed of one trial in a run: its own, and the same again for the same run."""
    return random.Random(f"{seed}:{name}:{mode}").getrandbits(32)
