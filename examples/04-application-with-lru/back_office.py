"""Gives a user a name: first in the database, and then it publishes that the old one is stale. Never the other way."""

import os
import sqlite3
import sys

from invalidator import Publisher

key, name = sys.argv[1:]
with sqlite3.connect("shop.db") as database:
    database.execute("CREATE TABLE IF NOT EXISTS users (key TEXT PRIMARY KEY, name TEXT)")
    database.execute("REPLACE INTO users VALUES (?, ?)", (key, name))
with Publisher(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")) as publisher:
    publisher.invalidate("cache:invalidate:users:profile", keys=[key])
