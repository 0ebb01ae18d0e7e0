"""One backend hangs: what becomes of the others' times, and of the daemon's memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chaos import ledger
from chaos.promises import p99
from chaos.runs.run import Found, Run
from chaos.scene import HOT, built, hung_cache, pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.runs.run import Task
    from chaos.scene import Scene

HANGS = "memcached"
BESIDE = "stores"
"""The worker that purges memcached, and the ledger beside it: the lane that must not notice."""


def _do(task: Task) -> Found:
    """As long without the fault as with it. A time is that from the publisher's `send` to the ledger's line."""
    seconds = task.sized(300, 4)
    with built(task.folder, task.setting(seconds=2.0 * seconds + 90)) as scene, scene.load():
        scene.under_load(3.0)
        began = scene.truth.published
        pause(seconds)
        calm, memory = scene.truth.published, _resident(scene)
        with hung_cache(scene, HANGS):
            pause(seconds)
            hung, grown = scene.truth.published, _resident(scene) - memory
        scene.under_load(2.0)
        before, meanwhile = _p99(scene, began, calm), _p99(scene, calm, hung)
    values = {"calm_p99": before, "hanging_p99": meanwhile, "factor": meanwhile / before, "grown_mib": grown}
    return Found(1, {"minutes": seconds / 60, **values})


def _p99(scene: Scene, first: int, last: int) -> float:
    """Over the cold keys among these messages, by their numbers: each of them was published, and purged, once."""
    cold = set(scene.truth.keys[HOT + first // 2 : HOT + last // 2])
    sent = {key: at for at, key in _lines(scene.ticks) if key in cold}
    purged = {key: at for at, key in _lines(ledger.of(scene.ledger, BESIDE)) if key in cold}
    return p99([purged[key] - at for key, at in sent.items() if key in purged])


def _lines(file: Path) -> Iterator[tuple[float, str]]:
    for line in file.read_text().splitlines():
        at, *keys = line.split()
        yield from ((float(at), key) for key in keys)


def _resident(scene: Scene) -> float:
    """MiB of memory that all processes of the daemon take."""
    return sum(_rss(pid) for pid in [scene.run.pid, *scene.run.pids()]) / 1024


def _rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


RUNS = (Run("isolation", "one backend hangs", _do),)
