"""One flood, and what became of it: how fast a contender is while Redis publishes as fast as it can."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import load
from benchmarks.contenders import Ours

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from benchmarks.contenders import Contender, Running, Scene
    from benchmarks.runs.run import Task

_KILLED = "output buffer limits"
LOOK = 0.01
"""Seconds between two looks: a daemon is asked for its metrics, on the processors that it works on."""
QUIET = 1.5
"""Seconds without another message after which no more are expected."""
OUR_PATIENCE, PATIENCE = 120.0, 3.0
"""Seconds for what is left when all is published. Some peers would need minutes, and one that is killed never ends."""


class Outcome(NamedTuple):
    """`live`: messages handled for each second in which there was publishing; `whole`: for each until all were.

    `share` of what was published is what was handled in the end, or before our patience ended; `killed`: by the limit
    of Redis' output buffer.
    """

    live: float
    whole: float
    share: float
    killed: bool
    gaps: int = 0


def flood(task: Task, contender: Contender, payload: str, count: int, *, keys: int = 50_000) -> Outcome:
    """redis-benchmark against one contender that has its servers to itself."""
    with ExitStack() as stack:
        scene = task.scene(stack, contender.cache, len(payload))
        running = contender.begin(scene)
        began = time.monotonic()
        process = load.begin_flood(stack, scene.broker, payload, count, keys=keys)
        return watched(scene, running, load.published(count), began, lambda: _has_ended(process))


def watched(scene: Scene, running: Running, count: int, began: float, is_over: Callable[[], bool]) -> Outcome:
    """Look on until all is published, and then until all is handled or nothing more happens."""
    clock = threading.Event()
    while not is_over():
        clock.wait(LOOK)
    live = handled = running.handled()
    published = looked = last = time.monotonic()
    patience = published + (OUR_PATIENCE if isinstance(running, Ours) else PATIENCE)
    while handled < count and looked - last < QUIET and looked < patience:
        clock.wait(LOOK)
        now, looked = running.handled(), time.monotonic()
        if now > handled:
            handled, last = now, looked
    gaps = running.gaps() if isinstance(running, Ours) else 0
    whole = handled / (last - began)
    return Outcome(live / (published - began), whole, handled / count, _KILLED in scene.broker.log.read_text(), gaps)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None
