"""Faults of the daemon's own processes, and of what its operators do to it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.drill.fault import Fault
from invalidator.drill.promises import Check, declared, gained, within
from invalidator.drill.topology import HEARTBEAT_TIMEOUT, STOP_TIMEOUT
from invalidator.errors import UnreachableError
from invalidator.stage.process import children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.drill.scene import Scene

REPLACED = 2.0
"""Seconds in which a dead worker's successor is to be subscribed. A twentieth will do; a busy machine is given more."""
ORPHANED = 1.0
"""Seconds that a worker may outlive its supervisor."""
STOPPED = STOP_TIMEOUT + 1.0
"""Seconds in which a worker that was told to stop has ended."""


def worker_kill(scene: Scene) -> Sequence[Check]:
    """SIGKILL."""
    before, victim = scene.gaps(), scene.pid()
    os.kill(victim, signal.SIGKILL)
    seconds = scene.seconds_until(lambda: scene.subscribed(other_than=victim))
    return [within("another worker is subscribed", seconds, REPLACED), declared(before, scene.gaps(), "start")]


def worker_hang(scene: Scene) -> Sequence[Check]:
    """SIGSTOP, and nobody continues it."""
    before, victim = scene.gaps(), scene.pid()
    os.kill(victim, signal.SIGSTOP)
    try:
        seconds = scene.seconds_until(lambda: scene.subscribed(other_than=victim))
    finally:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)
    bound = HEARTBEAT_TIMEOUT + REPLACED
    return [within("it is found and replaced", seconds, bound), declared(before, scene.gaps(), "start")]


def supervisor_kill(scene: Scene) -> Sequence[Check]:
    """SIGKILL, with one worker stopped; another daemon is started at once, as systemd does."""
    workers = children(scene.stage.daemon.pid)
    os.kill(workers[0], signal.SIGSTOP)
    scene.stage.daemon.signal(signal.SIGKILL)
    scene.stage.daemon.wait(5)
    gone = scene.seconds_until(lambda: not any(_lives(pid) for pid in workers), ORPHANED * 2)
    for pid in workers:
        with suppress(ProcessLookupError):  # what a broken promise has left would disturb the next fault
            os.kill(pid, signal.SIGKILL)
    scene.stage.close_daemon()
    began = time.monotonic()
    try:
        scene.stage.start_daemon()
        ready: float | None = time.monotonic() - began
    except UnreachableError:
        ready = None
    return [within("no worker outlives it", gone, ORPHANED), within("the next daemon is ready", ready, 10.0)]


def reload_bad(scene: Scene) -> Sequence[Check]:
    """An invalid topology, and then the old one again."""
    pids = scene.pid(), scene.bystander()
    scene.stage.file.write_text("workers: [{pattern: 'cache:*', backends: [nobody]}]\n")
    scene.stage.daemon.signal(signal.SIGHUP)
    refused = scene.seconds_until(lambda: _reloaded(scene) is False, 5.0)
    scene.write_topology()
    scene.stage.daemon.signal(signal.SIGHUP)
    taken = scene.seconds_until(lambda: _reloaded(scene) is True, 5.0)
    same = pids == (scene.pid(), scene.bystander())
    return [
        within("the invalid file is refused", refused, 2.0),
        within("the valid one is taken", taken, 2.0),
        Check("no worker is disturbed by either", same, "the same processes" if same else "other processes"),
    ]


def restart(scene: Scene) -> Sequence[Check]:
    """`invalidator restart`, as an operator does it."""
    before, victim = scene.gaps(), scene.pid()
    scene.ask_for_restart()
    seconds = scene.seconds_until(lambda: scene.subscribed(other_than=victim))
    gone = scene.seconds_until(scene.is_alone)  # whether its successor had to begin with a gap is known only then
    checks = [within("another worker is subscribed", seconds, 5.0), within("the old one ends", gone, STOPPED)]
    if scene.delivery == "pubsub":  # with a journal the new one reads on, and its start is told as any other
        new = ", ".join(gained(before, scene.gaps()))
        checks.append(Check("a planned restart is no gap", not new, new or "none"))
    return checks


def _reloaded(scene: Scene) -> bool | None:
    status = scene.status()
    return status.reload.ok if status else None


def _lives(pid: int) -> bool:
    try:
        # A zombie has ended: only its number is left, until whoever inherited it asks for its exit code.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return not Path("/proc/self").exists()  # without a /proc, the number alone has to do


FAULTS = (
    Fault("worker-kill", "kill -9 of the worker", worker_kill, kills=True),
    Fault("worker-hang", "SIGSTOP of the worker, for good", worker_hang, kills=True),
    Fault("restart", "a planned restart of the worker", restart),
    Fault("reload-bad", "a reload of an invalid file, then of the valid one", reload_bad),
    Fault("supervisor-kill", "kill -9 of the supervisor, with a worker stopped", supervisor_kill, spares=False),
)
