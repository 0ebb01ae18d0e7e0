"""A plugin: a backend that writes down every key that it is asked to purge, and when. It never fails.

A line is the monotonic second and the keys of one batch. It is written in one piece before `purge` returns, so that
what the worker counts as purged is in the file, whatever becomes of the worker afterwards.
"""

from __future__ import annotations

import os
import time
from pathlib import Path  # noqa: TC003 -- pydantic evaluates the annotations
from typing import TYPE_CHECKING

from pydantic import Field

from invalidator import Backend, BackendOptions, PurgeResult, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator import BackendContext, Batch


class LedgerOptions(BackendOptions):
    """Where it is written down."""

    path: Path = Field(description="the file; each worker's name is added to it")


class Ledger(Backend):
    """One worker's part of it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def purge(self, batch: Batch) -> PurgeResult:
        """Write the keys down."""
        if batch.keys:
            os.write(self._fd, f"{time.monotonic():.6f} {' '.join(batch.keys)}\n".encode())
        return PurgeResult()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def of(path: Path, worker: str) -> Path:
    """The file of one worker."""
    return path.with_name(f"{path.name}.{worker}")


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    """See hookspecs."""
    return {"ledger": LedgerOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Backend | None:  # noqa: A002 -- the hook's word
    """See hookspecs."""
    return Ledger(of(options.path, context.worker)) if type == "ledger" and isinstance(options, LedgerOptions) else None
