"""SIGTERM under load, and with a backend that hangs."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from chaos.runs.run import Found, Run
from chaos.scene import built, hung_cache
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.runs.run import Task
    from chaos.scene import Scene

STOP_TIMEOUT = 10.0
"""Seconds: supervisor.stop_timeout, unless a topology says otherwise."""


def _do(task: Task) -> Found:
    plain, hanging = task.sized(30, 2), task.sized(5, 0)
    stops: list[tuple[float, int]] = []
    stops_hanging: list[tuple[float, int]] = []
    with built(task.folder, task.setting(seconds=60.0 + 5 * plain + 15 * hanging)) as scene, scene.load():
        for _ in range(plain):
            scene.under_load(1.0)
            stops.append(_stop(scene))
            scene.run.start()
        for _ in range(hanging):
            with hung_cache(scene, "memcached"):
                scene.under_load(1.0)
                stops_hanging.append(_stop(scene))
            scene.run.start()
    values = {
        "seconds": [seconds for seconds, _ in stops],
        "hanging": [seconds for seconds, _ in stops_hanging] or [0.0],
        "codes": sorted({code for _, code in stops + stops_hanging}),
        "stop_timeout": STOP_TIMEOUT,
    }
    return Found(plain + hanging, values)


def _stop(scene: Scene) -> tuple[float, int]:
    began = time.monotonic()
    scene.run.signal(signal.SIGTERM)
    wait_until(lambda: scene.run.returncode is not None, STOP_TIMEOUT + 10, scene.run.logs)
    seconds = time.monotonic() - began
    return round(seconds, 3), scene.run.wait()


RUNS = (Run("stop", "SIGTERM", _do),)
