"""An in-process LRU cache that the invalidator daemon keeps coherent.

This is the application's side, and the standard library is all that it imports. The daemon's side is in `plugin`.
"""

from invalidator_lru.cache import LRUCache, Snapshot, Stats

__all__ = ["LRUCache", "Snapshot", "Stats"]
