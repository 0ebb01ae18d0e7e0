"""So many application processes with one LRU table: `… PATH COUNT`. Each keeps an entry, asks for it, and then waits.

They end with their standard input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from invalidator_lru import LRUCache

KEY = "users:42"


def main() -> None:
    """Fork the others, as a web server's parent does, and say so when all have asked."""
    cache = LRUCache(Path(sys.argv[1]), maxsize=1_000)
    while not cache.is_proven():
        os.sched_yield()
    cache.set(KEY, "what it is")
    heard, tell = os.pipe()
    count = int(sys.argv[2])
    is_child = any(os.fork() == 0 for _ in range(count))
    if is_child:
        cache.get(KEY)
        os.write(tell, b".")
    else:
        while count:
            count -= len(os.read(heard, count))
        print('"ready"', flush=True)
    os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    main()
