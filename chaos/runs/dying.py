"""A worker that dies at its start, again and again: it is tried with a growing delay, and the others notice nothing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from chaos import dying_plugin
from chaos.runs.run import Found, Run
from chaos.scene import Watched, pause
from invalidator.embedded import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.runs.run import Task
    from chaos.scene import Setting


def _do(task: Task) -> Found:
    return Found(1, watched(task.folder, task.setting(), task.sized(60, 5)))


def watched(folder: Path, setting: Setting, seconds: float) -> dict[str, Any]:
    """What is to be seen in so many seconds after the sound worker is subscribed."""
    shutil.copy(dying_plugin.__file__, folder / "dying_plugin.py")
    with redis_server(folder) as broker:
        run = Watched(folder, _topology(broker.url, setting.mode), setting)
        try:
            run.start(ready=False)
            wait_until(lambda: run.status("/healthz"), 10, run.logs)
            run.wait_metric("invalidator_subscribed", 1, worker="sound")
            before = _pid(run)
            pause(seconds)
            metrics = run.metrics()
            restarts = int(metrics.value("invalidator_worker_restarts_total", worker="dying"))
            others = int(metrics.value("invalidator_worker_restarts_total", worker="sound"))
            disturbed = others + (_pid(run) != before)
            degraded = "degraded" in run.get("/healthz").body or run.status("/readyz") != 200
            return {"seconds": seconds, "restarts": restarts, "disturbed": disturbed, "degraded": degraded}
        finally:
            run.close()


def _pid(run: Watched) -> int:
    """Of the sound worker, as the log has it."""
    lines = (json.loads(line) for line in run.logs().splitlines() if line.startswith("{"))
    return next((line["pid"] for line in lines if line.get("worker") == "sound" and "pid" in line), 0)


def _topology(url: str, mode: str) -> dict[str, Any]:
    def worker(name: str, backend: str) -> dict[str, Any]:
        return {"name": name, "pattern": f"cache:{name}:*", "delivery": mode, "backends": [backend], "on_gap": "ignore"}

    return {
        "redis": {"url": url},
        "plugins": ["log", "./dying_plugin.py"],
        "backends": {"said": {"type": "log"}, "dead": {"type": "dying"}},
        "workers": [worker("sound", "said"), worker("dying", "dead")],
    }


RUNS = (Run("dying", "a worker that dies at its start", _do),)
