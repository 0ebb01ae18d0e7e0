"""The backend: one worker's hand on a table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from invalidator import Backend, BackendError, Failure, PurgeResult, Target
from invalidator_lru.cache import LRUCache
from invalidator_lru.feeder import Feeder
from invalidator_lru.records import feeder_name
from invalidator_lru.table import TableError, open_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.backend import BackendContext
    from invalidator.messages import Batch
    from invalidator_lru.options import LruOptions


class LruBackend(Backend):
    """Writes the generations of what a batch names, and vouches for the table while the subscription is proven."""

    inline = True
    memory = True
    canary = "hold"

    def __init__(self, options: LruOptions, context: BackendContext, remake: Callable[[], bool] | None = None) -> None:
        self._path = options.path
        self._reader: LRUCache | None = None
        self._feeder = Feeder(options.path, feeder_name(context.worker, context.backend), remake=remake)

    def purge(self, batch: Batch) -> PurgeResult:
        """No application serves any of it from the moment this returns. Raises BackendError when there is no table."""
        try:
            self._feeder.invalidate(
                keys=batch.keys,
                tags=batch.tags,
                prefixes=batch.prefixes,
                everything=batch.all or bool(batch.patterns),
            )
        except TableError as error:
            raise BackendError("unreachable", str(error)) from error
        return PurgeResult(tuple(Failure(Target("url", url), "unsupported", retry=False) for url in batch.urls))

    def connect(self) -> None:
        """That the table is there and can be written, or that it can be made. Raises BackendError."""
        try:
            open_table(self._path, writable=True)
        except TableError as error:
            folder = self._path.parent if self._path.parent.exists() else self._path.parent.parent
            if not os.access(folder, os.W_OK | os.X_OK):
                raise BackendError("unreachable", str(error)) from error

    def plant(self, key: str, seconds: float) -> None:
        """As an application does, in this process. Raises BackendError where applications would keep nothing."""
        del seconds  # it goes with this process
        reader = LRUCache(self._path, maxsize=1)
        if not reader.set(key, True):
            raise BackendError(
                "unreachable",
                f"{self._path}: not every worker that feeds this table vouches for it now: applications keep nothing",
            )
        self._reader = reader

    def holds(self, key: str) -> bool:
        """Whether an application that has it in memory is served."""
        return self._reader is not None and self._reader.get(key) is not None

    def subscribed(self, until: float) -> None:
        """Vouch for the table until this monotonic second, or, with one that has passed, take that back."""
        self._feeder.prove(until)

    def close(self) -> None:
        """Take back what was vouched for, and let go of the table."""
        self._feeder.close()
