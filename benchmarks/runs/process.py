"""What a daemon costs that has nothing to do, and how soon it is there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import contenders
from benchmarks.runs.run import Found, Run
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runs.run import Task

WORKERS = 10
_TICK = os.sysconf("SC_CLK_TCK")


def _idle(task: Task) -> Found:
    rounds, seconds, workers = task.rounds(5), task.sized(10, 1), task.sized(WORKERS, 2)
    samples: dict[str, list[float]] = {"cpu": [], "supervisor": [], "pss": []}
    for _ in range(rounds):
        with ExitStack() as stack:
            few = contenders.Ours(scene := task.scene(stack), contenders.lru(scene), 1).daemon
            alone = _memory([few.pid, *few.pids()])
        with ExitStack() as stack:
            many = contenders.Ours(scene := task.scene(stack), contenders.lru(scene), workers).daemon
            pids = many.pids()
            before, own = _busy(pids), _busy([many.pid])
            threading.Event().wait(seconds)
            samples["cpu"].append(100 * (_busy(pids) - before) / seconds)
            samples["supervisor"].append(100 * (_busy([many.pid]) - own) / seconds)
            samples["pss"].append((_memory([many.pid, *pids]) - alone) / (workers - 1) / 2**20)
    return Found(rounds, {"unit": "%; MiB", "samples": samples})


def _busy(pids: Sequence[int]) -> float:
    """Seconds of a processor that these have used, in their own code and in the kernel's."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(words[11]) + int(words[12]) for words in stats) / _TICK


def _memory(pids: Sequence[int]) -> float:
    """Bytes: what they share is divided among those who do."""
    found = (re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE) for pid in pids)
    return 1024.0 * sum(int(each[1]) for each in found if each)


def _start(task: Task) -> Found:
    rounds = task.rounds(9)
    return Found(
        rounds,
        {
            "unit": "s",
            "samples": task.in_turn(
                rounds,
                {
                    "ours": lambda: _command("-m", "invalidator", "--help"),
                    "click": lambda: _command("-c", "import click"),
                    "ready": lambda: _ready(task),
                },
            ),
        },
    )


def _command(*words: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.monotonic() - began


def _ready(task: Task) -> float:
    """Until it tells systemd: nobody asks it meanwhile."""
    with ExitStack() as stack:
        scene = task.scene(stack)
        lane = {"backend": "near"}
        workers = [
            {"name": f"bench{number}", "pattern": f"bench{number}:*", "backends": [lane]} for number in range(WORKERS)
        ]
        url = {"url": f"redis://127.0.0.1:{scene.broker.port}/0"}
        topology = {"redis": url, "backends": contenders.lru(scene), "workers": workers}
        notify = stack.enter_context(closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
        notify.bind(str(scene.folder / "notify"))
        notify.settimeout(30.0)
        daemon = Daemon(scene.folder, topology, {"NOTIFY_SOCKET": str(scene.folder / "notify")})
        stack.callback(daemon.close)
        began = time.monotonic()
        daemon.start(ready=False)
        while b"READY=1" not in notify.recv(4096):
            pass
        return time.monotonic() - began


RUNS = (
    Run("idle", "CPU and memory of 10 workers without work", _idle),
    Run("start", "--help, and run until ready", _start),
)
