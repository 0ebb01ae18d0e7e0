"""The application: reads through all four caches, one of them in its own memory, and so refills what was purged.

Runs as `python -m chaos.application TRUTH HOT CACHES`, where CACHES is JSON: addresses by the cache's kind. It takes
commands, one a line, from its standard input, answers each with a line of JSON, and ends with it:

    read          read on and on, until the next command
    rest          read nothing
    leave KIND    leave this cache alone: something is about to happen to it
    join KIND     use it again, on a new connection
    served        {key: version} of its own memory

It never makes anything stale itself. What it stores, it has loaded before, and it looks again at what is true *after*
it stored (stage.stores.SharedStore says why that is enough). That needs the cache to answer in between: so a cache
that is about to be killed or stopped is left alone first, with nothing under way.

What it reads are the hot keys, and the cold ones that are to change next: each is in every cache shortly before its one
and only change, and stays stale for good if that is not heard of.
"""

from __future__ import annotations

import json
import random
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from chaos.pages import PageStore
from invalidator.stage import truth
from invalidator.stage.shop import SHARED, OwnMemory, commands

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from invalidator.stage.stores import Store
    from invalidator.stage.truth import Truth

HOT_CLICKS = 20
AT_ONCE = 40
STORES: Mapping[str, Callable[[str], Store]] = {**SHARED, "http": PageStore}


class Application:
    """What it reads, and from where. `ahead`: how many cold keys it is to hold before they change."""

    def __init__(self, database: Truth, hot: int, addresses: Mapping[str, str], ahead: int) -> None:
        self._database = database
        self._hot = hot
        self._addresses = addresses
        self._ahead = ahead
        self._own = OwnMemory(addresses["lru"], len(database.keys)) if "lru" in addresses else None
        self._stores: dict[str, Store] = {}
        self._read: dict[str, int] = {}
        for kind in addresses:
            self.join(kind)

    def join(self, kind: str) -> None:
        """Use this cache, from where the load is now."""
        self._stores[kind] = self._own if kind == "lru" and self._own else STORES[kind](self._addresses[kind])
        self._read[kind] = 0

    def leave(self, kind: str) -> None:
        """Leave this cache alone. Nothing is under way: each read has ended before the next command is taken."""
        if (store := self._stores.pop(kind, None)) is not None:
            store.close()

    def read(self) -> None:
        """One tick's clicks."""
        keys = self._database.keys
        hot = [keys[random.randrange(self._hot)] for _ in range(HOT_CLICKS)]
        cursor = self._hot + self._database.published // 2
        for kind in list(self._stores):
            first = max(cursor, self._read[kind])
            last = min(cursor + self._ahead, first + AT_ONCE, len(keys))
            self._refill(kind, tuple(dict.fromkeys([*hot, *keys[first:last]])))
            # Once past the window's end, begin anew: a flush may have emptied it.
            self._read[kind] = last if last < min(cursor + self._ahead, len(keys)) else cursor

    def _refill(self, kind: str, clicks: Sequence[str]) -> None:
        try:
            self._stores[kind].refill(clicks, self._database)
        except (OSError, redis.RedisError) as error:
            print(f"{kind}: {error!r}", file=sys.stderr, flush=True)
            raise

    def served(self) -> Mapping[str, int]:
        """What its own memory would answer with."""
        return self._own.held(self._database.keys) if self._own else {}

    def close(self) -> None:
        """Hang up."""
        for kind in list(self._stores):
            self.leave(kind)


def _obey(application: Application, command: str) -> Mapping[str, int]:
    word, _, kind = command.partition(" ")
    if word == "served":
        return application.served()
    if word == "leave":
        application.leave(kind)
    elif word == "join":
        application.join(kind)
    return {}


def _main(path: str, hot: str, ahead: str, caches: str) -> None:
    with (
        truth.opened(Path(path)) as database,
        closing(Application(database, int(hot), json.loads(caches), int(ahead))) as application,
        suppress(BrokenPipeError),
    ):
        for command in commands(application.read, ends=lambda command: command == "rest"):
            print(json.dumps(_obey(application, command)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
