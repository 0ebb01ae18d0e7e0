"""An application with all keys in its memory, which looks when each of them is gone: `… LOOK PATH COUNT FILE`.

The keys are published in order, so that it waits for one after the other. It never sleeps: a wait of its own would be
measured. LOOK is `get`, what an application does; or `words`, the word of a key in the table by itself: to miss and
forget a thousand keys takes an application a millisecond, which says nothing of when they were gone. Writes their
seconds into FILE, as doubles, when all are gone. Without arguments it only keeps a processor as busy, until it is
killed: so that whoever is compared has no quieter machine.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.publisher import key
from invalidator_lru import LRUCache
from invalidator_lru.table import open_table

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 10.0


def main() -> None:
    """Fill the cache, say so, and look on."""
    while len(sys.argv) == 1:
        os.sched_yield()
    look, path, count, file = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    cache = LRUCache(path, maxsize=2 * count)
    keys = [key(number) for number in range(count)]
    until = time.monotonic() + PATIENCE
    while not cache.is_proven() and time.monotonic() < until:
        os.sched_yield()
    kept = [cache.set(name, True) for name in keys]
    assert all(kept), "nobody vouches for this table"
    table = open_table(path)
    before = [(slot, table.words[slot]) for slot in map(table.key_slot, keys)]
    print('"ready"', flush=True)
    sys.stdin.readline()
    until = time.monotonic() + PATIENCE + count / 500
    gone = _gone_from(cache, keys, until) if look == "get" else _changed_in(table.words, before, until)
    assert not any(map(cache.get, keys)), "some were not purged"
    assert not cache.stats().unproven, "they were gone for another reason"
    file.write_bytes(gone.tobytes())
    print('"done"', flush=True)


def _gone_from(cache: LRUCache, keys: Sequence[str], until: float) -> array[float]:
    gone = array("d")
    for name in keys:
        while cache.get(name) is not None and time.monotonic() < until:
            os.sched_yield()
        gone.append(time.monotonic())
    return gone


def _changed_in(words: memoryview[int], before: Sequence[tuple[int, int]], until: float) -> array[float]:
    changed = array("d")
    for slot, word in before:
        while words[slot] == word and time.monotonic() < until:
            os.sched_yield()
        changed.append(time.monotonic())
    return changed


if __name__ == "__main__":
    main()
