"""Packets that the kernel queues for us (NFQUEUE) go on later: `python -m chaos.delay SECONDS JITTER SEED`.

What netem does, for kernels that have none. Order is kept, as on one line: none overtakes the one before it. A line on
its standard input has it let everything through, and answer `{}`; it ends with its input.
"""

from __future__ import annotations

import random
import select
import sys
import time
from collections import deque
from typing import Any

from netfilterqueue import NetfilterQueue

NUMBER = 1
ROOM = 65_536


def _main(seconds: float, jitter: float, seed: int) -> None:
    chance = random.Random(seed)
    held: deque[tuple[float, Any]] = deque()

    def hold(packet: Any) -> None:
        packet.retain()
        due = time.monotonic() + chance.gauss(seconds, jitter)
        held.append((max(due, held[-1][0]) if held else due, packet))

    queue = NetfilterQueue()
    queue.bind(NUMBER, hold, max_len=ROOM)
    print("delaying", flush=True)
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else 1.0
        ready, _, _ = select.select([queue.get_fd(), sys.stdin], [], [], wait)
        if queue.get_fd() in ready:
            queue.run(block=False)
        asked = sys.stdin in ready
        while held and (asked or held[0][0] <= time.monotonic()):
            held.popleft()[1].accept()
        if asked:
            if not sys.stdin.readline():
                return
            print("{}", flush=True)


if __name__ == "__main__":
    _main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
