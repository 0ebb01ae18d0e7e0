"""SIGKILL of the supervisor, with each worker in another state: none of them may be left a second later."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from chaos import stuck
from chaos.runs.run import Found, Run
from chaos.scene import Setting, Watched, pause
from invalidator.embedded import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.runs.run import Task

STATES = ("stopped", "spinning", "blocked", "normal")


def _do(task: Task) -> Found:
    rounds = task.sized(25, 2)
    alive = sum(orphans(task.folder / str(number), task.setting()) for number in range(rounds))
    return Found(rounds * len(STATES), {"alive": alive})


def orphans(folder: Path, setting: Setting) -> int:
    """How many workers, of one in each state, are alive a second after the supervisor was killed."""
    folder.mkdir()
    shutil.copy(stuck.__file__, folder / "stuck.py")
    with redis_server(folder) as broker, closing(Redis.from_url(broker.url, socket_timeout=5)) as redis:
        run = Watched(folder, topology(broker.url, setting.mode), setting)
        try:
            run.start()
            pids = dict(zip(STATES, run.pids(), strict=True))
            for state in ("spinning", "blocked"):
                redis.publish(f"cache:{state}:x", state)
                wait_until(lambda state=state: (folder / f"stuck-{pids[state]}").exists(), 10, run.logs)  # type: ignore[misc]
            os.kill(pids["stopped"], signal.SIGSTOP)
            run.signal(signal.SIGKILL)
            pause(1.0)
            return sum(not _has_ended(pid) for pid in pids.values())
        finally:
            _end(run)


def topology(url: str, mode: str) -> dict[str, Any]:
    """A worker for each state. The one that spins or blocks does so on its own loop, which then does nothing else."""
    workers = [
        {"name": state, "pattern": f"cache:{state}:*", "delivery": mode, "backends": ["stuck"], "on_gap": "ignore"}
        for state in STATES
    ]
    backends = {"stuck": {"type": "stuck"}}
    return {"redis": {"url": url}, "plugins": ["./stuck.py"], "backends": backends, "workers": workers}


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _end(run: Watched) -> None:
    # What is left after the count is nobody's any more.
    for pid in run.survivors():
        os.kill(pid, signal.SIGKILL)
    run.wait()


RUNS = (Run("orphans", "SIGKILL of the supervisor", _do),)
