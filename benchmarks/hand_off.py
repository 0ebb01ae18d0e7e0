"""What it costs to hand a batch to a lane's thread, against purging on the worker's own loop.

    python benchmarks/hand_off.py

From `offer` until the backend is called, the loop waiting in poll() between two messages as a worker's does. Both ways
in turn, several rounds, medians with their spread: machines differ, the ratio is what to read.
"""

from __future__ import annotations

import random
import select
import statistics
import threading
from typing import TYPE_CHECKING

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
    from collections.abc import Sequence
    from pathlib import Path

ROUNDS, MESSAGES = 7, 2000


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


def latencies(backend: Stopwatch, folder: Path) -> list[float]:
    """Seconds from `offer` to `purge`, for each of MESSAGES messages."""
    log = get_logger()
    pending = Pending(Policy("bench", "b"), random.random)
    receipts = Receipts(Region(["b"]).backend("b"), log)
    lane = Lane(
        backend, backend.purge, pending, receipts, DeadLetters(folder, Box("bench", "b"), log), log, lambda: None
    )
    lane.start()
    idle = select.poll()
    seconds = []
    for number in range(MESSAGES):
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


def main() -> None:
    """Run both in turn, and print a table."""
    from pathlib import Path  # noqa: PLC0415
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    with TemporaryDirectory() as name:
        rounds = [(latencies(InlineStopwatch(), Path(name)), latencies(Stopwatch(), Path(name))) for _ in range(ROUNDS)]
    print(f"offer to purge, microseconds; {ROUNDS} rounds of {MESSAGES} messages: median (least to most)")
    for label, quantile in (("p50", 50), ("p99", 99)):
        inline = [percentile(both[0], quantile) for both in rounds]
        thread = [percentile(both[1], quantile) for both in rounds]
        ratio = [slow / quick for quick, slow in zip(inline, thread, strict=True)]
        print(f"  {label}  on the loop {spread(inline)}   by a thread {spread(thread)}   ratio {spread(ratio)}")


def percentile(values: Sequence[float], wanted: int) -> float:
    """In microseconds."""
    return statistics.quantiles(values, n=100)[wanted - 1] * 1e6


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
