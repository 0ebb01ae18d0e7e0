"""A plugin: a backend that does what its key says to the worker's own loop: it spins, or blocks, for ever.

It leaves a file first, named after its process, for whoever waits until it is stuck.
"""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 -- pluggy and pydantic may look at the annotations
from typing import TYPE_CHECKING, ClassVar

from invalidator import Backend, BackendOptions, PurgeResult, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator import BackendContext, Batch


class Stuck(Backend):
    """Runs on the loop, where nothing may block: what it does there is the worst that a plugin can do."""

    inline: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def purge(self, batch: Batch) -> PurgeResult:
        """Get stuck, if that is the word."""
        for word in {"spinning", "blocked"} & set(batch.keys):
            (self._folder / f"stuck-{os.getpid()}").touch()
            if word == "blocked":
                read, _ = os.pipe()
                os.read(read, 1)
            while True:
                pass
        return PurgeResult()


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    """See hookspecs."""
    return {"stuck": BackendOptions}


@hookimpl
def make_backend(type: str, context: BackendContext) -> Backend | None:  # noqa: A002 -- the hook's word
    """See hookspecs."""
    return Stuck(context.state_dir.parent) if type == "stuck" and context.state_dir else None
