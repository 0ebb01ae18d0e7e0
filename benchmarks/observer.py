"""An application with all keys in its memory, which looks when each of them is gone: `… PATH COUNT FILE`.

The keys are published in order, so that it waits for one after the other. It never sleeps: a wait of its own would be
measured. Writes their seconds into FILE, as doubles, when all are gone. Without PATH, COUNT and FILE it only keeps a
processor as busy, until it is killed: so that whoever is compared has no quieter machine.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from pathlib import Path

from benchmarks.publisher import key
from invalidator_lru import LRUCache

PATIENCE = 10.0


def main() -> None:
    """Fill the cache, say so, and look on."""
    while len(sys.argv) == 1:
        os.sched_yield()
    path, count, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    cache = LRUCache(path, maxsize=2 * count)
    keys = [key(number) for number in range(count)]
    until = time.monotonic() + PATIENCE
    while not cache.is_proven() and time.monotonic() < until:
        os.sched_yield()
    kept = [cache.set(name, True) for name in keys]
    assert all(kept), "nobody vouches for this table"
    print('"ready"', flush=True)
    sys.stdin.readline()
    gone = array("d")
    until = time.monotonic() + PATIENCE + count / 500
    for name in keys:
        while cache.get(name) is not None and time.monotonic() < until:
            os.sched_yield()
        gone.append(time.monotonic())
    assert not cache.stats().unproven, "they were gone for another reason"
    file.write_bytes(gone.tobytes())
    print('"done"', flush=True)


if __name__ == "__main__":
    main()
