"""Reads users through an LRU cache in its own memory: `users:42` on a line, its name on the next."""

import sqlite3
import sys

from invalidator_lru import LRUCache

database = sqlite3.connect("shop.db")
cache = LRUCache("shop.gen", maxsize=10_000)


def load(key: str) -> str:
    print("(asking the database) ", end="")
    row = database.execute("SELECT name FROM users WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else "nobody"


for line in sys.stdin:
    print(cache.get_or_load(line.strip(), load), flush=True)
