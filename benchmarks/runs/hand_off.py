"""What it costs to hand a batch to a lane's thread, against purging on the worker's own loop.

From `offer` until the backend is called, the loop waiting in poll() between two messages as a worker's does.
"""

from __future__ import annotations

import random
import select
import threading
from typing import TYPE_CHECKING

from benchmarks.quantities import percentile
from benchmarks.runs.run import Found, Run
from invalidator.backend import Backend
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.deadletter import DeadLetters
from invalidator.lanes.lane import Lane
from invalidator.lanes.policy import Policy
from invalidator.lanes.receipts import Receipts
from invalidator.letters import Box
from invalidator.logs import get_logger
from invalidator.messages import Batch, Invalidation, PurgeResult, Target
from invalidator.slots import Region, clock

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.runs.run import Task


class Stopwatch(Backend):
    """Purges nothing, and notes when it was asked to."""

    def __init__(self) -> None:
        self.called = 0.0
        self.asked = threading.Event()

    def purge(self, batch: Batch) -> PurgeResult:
        """Note the time."""
        del batch
        self.called = clock()
        self.asked.set()
        return PurgeResult()


class InlineStopwatch(Stopwatch):
    """The same on the caller's thread."""

    inline = True


def latencies(backend: Stopwatch, folder: Path, messages: int) -> list[float]:
    """Seconds from `offer` to `purge`, for each of so many messages."""
    log = get_logger()
    pending = Pending(Policy("bench", "b"), random.random)
    receipts = Receipts(Region(["b"]).backend("b"), log)
    letters = DeadLetters(folder, Box("bench", "b"), log)
    lane = Lane(backend, backend.purge, pending, receipts, letters, log, lambda: None)
    lane.start()
    idle = select.poll()
    seconds = []
    for number in range(messages):
        idle.poll(1)
        backend.asked.clear()
        begun = clock()
        lane.offer([Invalidation((Target("key", f"users:{number}"),))], begun)
        lane.turn()
        backend.asked.wait()  # gives the interpreter away, as the loop's own poll() would
        seconds.append(backend.called - begun)
    lane.stop()
    lane.join(clock() + 1)
    return seconds


def _do(task: Task) -> Found:
    rounds, messages = task.rounds(7), task.sized(2_000, 100)
    both = task.in_turn(
        rounds,
        {
            "inline": lambda: latencies(InlineStopwatch(), task.folder, messages),
            "thread": lambda: latencies(Stopwatch(), task.folder, messages),
        },
    )
    shares = (("p50", 0.5), ("p99", 0.99))
    samples = {
        f"{way} {name}": [percentile(seconds, share) for seconds in each]
        for way, each in both.items()
        for name, share in shares
    }
    return Found(rounds, {"unit": "s", "samples": samples})


RUNS = (Run("hand-off", "a batch to a lane's thread, or on the loop", _do),)
