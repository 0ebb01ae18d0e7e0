"""The shop: an application that reads through all of the caches, one of them in its own memory.

It runs as `python -m invalidator.stage.shop TRUTH HOT STORES`, where STORES is JSON: addresses by the store's kind. It
takes commands, one a line, from its standard input, and ends with it:

    warm    fill every cache with everything, then answer {}
    read    read on and on, until the next command
    served  answer {key: version}: what its own memory serves
"""

from __future__ import annotations

import json
import random
import select
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.stage import truth
from invalidator.stage.http_cache import TAG
from invalidator.stage.stores import HttpStore, MemcachedStore, RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from invalidator.stage.stores import Store
    from invalidator.stage.truth import Truth

TICK = 0.02
CLICKS = 40
"""Products that are looked at in a tick: 2,000 a second."""
_AT_ONCE = 200

SHARED: Mapping[str, Callable[[str], Store]] = {"memcached": MemcachedStore, "redis": RedisStore, "http": HttpStore}
"""How to reach the caches that are no application's own, by the type of backend that purges them."""


class OwnMemory:
    """The application's own LRU, beside the shared caches: it sees to its own refills."""

    def __init__(self, table: str, size: int) -> None:
        from invalidator_lru import LRUCache  # noqa: PLC0415 -- a plugin: the others are shown without it too

        self._cache = LRUCache(table, maxsize=size)

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """See Store."""
        found = ((key, self._cache.get(key)) for key in keys)
        return {key: version for key, version in found if version is not None}

    def refill(self, keys: Sequence[str], truth: Truth) -> None:
        """See Store."""
        for key in keys:
            self._cache.get_or_load(key, truth.version, tags=[TAG])

    def close(self) -> None:
        """See Store."""


def _main(path: str, hot: str, addresses: str) -> None:
    with truth.opened(Path(path)) as database, ExitStack() as stack:
        stores: list[Store] = []
        own: OwnMemory | None = None
        for kind, address in json.loads(addresses).items():
            if kind == "lru":
                own = OwnMemory(address, len(database.keys))
            store = own if kind == "lru" and own else SHARED[kind](address)
            stores.append(stack.enter_context(closing(store)))
        for command in commands(lambda: _read(stores, database, int(hot))):
            if command == "warm":
                _warm(stores, database)
            _say(own.held(database.keys) if own and command == "served" else {})


def commands(meanwhile: Callable[[], None], ends: Callable[[str], bool] = lambda _: True) -> Iterator[str]:
    """The lines of standard input. Between a `read` and a line that `ends` it, `meanwhile` is called in every tick."""
    reading = False
    while True:
        if reading and not select.select([sys.stdin], [], [], TICK)[0]:
            meanwhile()
            continue
        command = sys.stdin.readline().strip()
        if not command:
            return
        reading = command == "read" or (reading and not ends(command))
        yield command


def _read(stores: Sequence[Store], database: Truth, hot: int) -> None:
    clicks = [random.choice(database.keys[:hot]) for _ in range(CLICKS // 2)]
    clicks += [random.choice(database.keys) for _ in range(CLICKS // 2)]
    for store in stores:
        store.refill(tuple(dict.fromkeys(clicks)), database)


def _warm(stores: Sequence[Store], database: Truth) -> None:
    for store in stores:
        for start in range(0, len(database.keys), _AT_ONCE):
            store.refill(database.keys[start : start + _AT_ONCE], database)


def _say(answer: Mapping[str, int]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
