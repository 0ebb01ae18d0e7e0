"""LRUCache: what an application keeps in its memory, and serves only while the daemon vouches that it is still true."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakSet

from invalidator_lru.table import CHANGES
from invalidator_lru.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator_lru.watch import Generations, View

V = TypeVar("V")

_MISSING: Any = object()
_MAX_CHANCES = 64  # entries that one eviction passes over: it bounds how long a `set` can take


class Stats(NamedTuple):
    """Counts since the cache was made; those of hits and misses are approximate when several threads ask.

    `stale` are the misses that found an entry which had been invalidated, `unproven` those that found one which nobody
    vouched for, and `refused` the values that were not kept: invalidated while they were loaded, or unproven.
    """

    hits: int
    misses: int
    stale: int
    unproven: int
    kept: int
    refused: int
    evicted: int
    size: int
    maxsize: int


class Snapshot:
    """The generations of a key and its tags at one moment. Made by `LRUCache.snapshot`, before the load."""

    __slots__ = ("generations", "key")

    def __init__(self, key: str, generations: Generations) -> None:
        self.key = key
        self.generations = generations  # pairs of a word's index and its value; empty: nothing was proven


class _Entry:
    __slots__ = ("generations", "value", "view", "visited")

    def __init__(self, value: Any, generations: Generations, view: View) -> None:
        self.value = value
        self.generations = generations
        self.view = view  # the one under which its generations were last compared
        self.visited = False


class LRUCache:
    """Up to `maxsize` values in this process' memory, kept coherent by the daemon that feeds the table at `path`.

    A hit is served only if every worker that feeds the table is proven to be subscribed at this moment, and nothing has
    been invalidated that the value depends on: its key, a tag, or a prefix of its key that ends at a `:`. While the
    daemon is away, or has not come yet, nothing is served from memory and nothing is kept; no method raises because of
    that. Keys and tags are `str`. Values are handed out as they are, not copied.

    Threads may share a cache; a hit takes no lock. So may a process and its children, forked before or after.

    When it is full, what has not been asked for since it was last looked at goes first (second chance: as good as the
    exact order of use, without moving anything on a hit).
    """

    __slots__ = (
        "__weakref__", "_clock", "_counts", "_entries", "_epoch", "_find", "_hits", "_lock", "_maxsize", "_misses",
        "_watch",
    )  # fmt: skip

    def __init__(
        self,
        path: str | os.PathLike[str],
        maxsize: int = 100_000,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize is {maxsize}, and must be at least 1")
        self._maxsize = maxsize
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._find = self._entries.get
        self._epoch = 0
        # Reentrant: a value's finalizer may run in the middle of an eviction, and use the cache.
        self._lock = threading.RLock()
        self._watch = Watch(path, clock)
        self._hits = self._misses = 0
        self._counts = dict.fromkeys(("stale", "unproven", "kept", "refused", "evicted"), 0)
        _caches.add(self)

    def get(self, key: str, default: Any = None) -> Any:
        """The value that is kept for `key` if it is certainly still true, else `default`."""
        entry = self._find(key)
        if entry is not None:
            view = self._watch.view
            # Nothing at all was written to the table since this entry was compared with it: the usual case, one read.
            if entry.view is view and view.words[CHANGES] == view.changes and self._clock() < view.until:
                entry.visited = True
                self._hits += 1
                return entry.value
            if self._is_true(key, entry):
                entry.visited = True
                self._hits += 1
                return entry.value
        self._misses += 1
        return default

    def get_or_load(self, key: str, load: Callable[[str], V], tags: Iterable[str] = ()) -> V:
        """The value that is kept for `key`, or else `load(key)`, which is then kept under these tags.

        What `load` returns is returned in any case. It is not kept if an invalidation of the key, of a prefix of it or
        of a tag arrived meanwhile, so that nothing loaded before an invalidation is ever served after it. For the same
        reason threads that miss the same key each load it: one that came after the invalidation must not be given what
        another one loaded before. What `load` raises goes to the caller, and nothing is kept.
        """
        value = self.get(key, _MISSING)
        if value is _MISSING:
            snapshot = self.snapshot(key, tags)
            value = load(key)
            self.set(key, value, snapshot=snapshot)
        return value  # type: ignore[no-any-return]

    def snapshot(self, key: str, tags: Iterable[str] = ()) -> Snapshot:
        """What `set` needs to know of the time before the load. Take it before anything is read from the source."""
        view = self._watch.proven()
        return Snapshot(key, view.generations(key, tuple(tags)) if view is not None else ())

    def set(self, key: str, value: Any, tags: Iterable[str] = (), *, snapshot: Snapshot | None = None) -> bool:
        """Keep `value`, and say whether it was kept: not while nobody vouches, nor if it was invalidated meanwhile.

        Give the `snapshot` that was taken before the value was read from its source (its tags hold, not `tags`).
        Without one, an invalidation that arrived between that and this call goes unnoticed, and the value is served
        until the next: do so only with a value that did not come from a shared source.
        """
        if snapshot is None:
            snapshot = self.snapshot(key, tags)
        elif snapshot.key != key:
            raise ValueError(f"the snapshot is of {snapshot.key!r}, not of {key!r}")
        view = self._watch.proven()
        kept = view is not None and bool(snapshot.generations) and view.holds(snapshot.generations)
        with self._lock:
            self._counts["kept" if kept else "refused"] += 1
            if view is not None and kept:
                self._keep(key, _Entry(value, snapshot.generations, view))
        return kept

    def delete(self, key: str) -> None:
        """Forget `key` in this process. To have all of them forget it, publish an invalidation."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything in this process."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        """How many values are kept, those included that have been invalidated and not been asked for since."""
        return len(self._entries)

    @property
    def maxsize(self) -> int:
        """How many values are kept at most."""
        return self._maxsize

    def is_proven(self) -> bool:
        """Whether hits are served at this moment: every worker that feeds the table is proven to be subscribed."""
        return self._watch.proven() is not None

    def stats(self) -> Stats:
        """What has happened so far."""
        return Stats(self._hits, self._misses, **self._counts, size=len(self._entries), maxsize=self._maxsize)

    def _is_true(self, key: str, entry: _Entry) -> bool:
        """Compare an entry's generations with the table, and forget it if one has changed."""
        view = self._watch.proven()
        if view is None:
            self._counts["unproven"] += 1
            return False
        if view.holds(entry.generations):
            entry.view = view
            return True
        with self._lock:
            self._counts["stale"] += 1
            if self._entries.get(key) is entry:
                del self._entries[key]
        return False

    def _keep(self, key: str, entry: _Entry) -> None:
        epoch = entry.generations[0][1]
        if epoch != self._epoch:
            # Everything was invalidated: give the memory back now, not when each entry's turn comes.
            self._entries.clear()
            self._epoch = epoch
        if key not in self._entries:
            self._make_room()
        self._entries[key] = entry

    def _make_room(self) -> None:
        chances = _MAX_CHANCES
        while len(self._entries) >= self._maxsize:
            # Taken out and put back, rather than moved: a finalizer that uses the cache cannot come between.
            oldest, candidate = self._entries.popitem(last=False)
            if candidate.visited and chances:
                candidate.visited = False
                self._entries[oldest] = candidate
                chances -= 1
            else:
                self._counts["evicted"] += 1

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it, and does not exist here.
        self._lock = threading.RLock()
        self._watch.after_fork()


_caches: WeakSet[LRUCache] = WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_caches):
        cache._after_fork()  # noqa: SLF001 -- of this module


os.register_at_fork(after_in_child=_after_fork_in_child)
