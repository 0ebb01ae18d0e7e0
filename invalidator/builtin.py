"""The `log` backend: purges nothing, and says what it would have. It comes through the same hooks as everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from invalidator.backend import Backend
from invalidator.hookspecs import hookimpl
from invalidator.logs import get_logger
from invalidator.messages import KINDS, PurgeResult
from invalidator.options import BackendOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator.backend import BackendContext
    from invalidator.logs import Value
    from invalidator.messages import Batch, Kind

_SHOWN = 20
"""A batch may hold a hundred thousand targets: a line names the first few of each kind, and counts all."""


class LogOptions(BackendOptions):
    """Purges nothing, and logs what it would have purged."""

    level: Literal["debug", "info", "warning"] = Field(default="info", description="The level of the lines.")

    def kinds(self) -> frozenset[Kind]:
        """Every kind: there is nothing that cannot be logged."""
        return frozenset(KINDS)

    def soft_kinds(self) -> frozenset[Kind]:
        """Every kind: `soft` is logged as well."""
        return frozenset(KINDS)


class LogBackend(Backend):
    """One line for each batch."""

    inline: ClassVar[bool] = True

    def __init__(self, options: LogOptions, context: BackendContext) -> None:
        logger = get_logger("log").bind(worker=context.worker, backend=context.backend)
        self._log = getattr(logger, options.level)

    def purge(self, batch: Batch) -> PurgeResult:
        """Log the batch. It never fails: a line that nobody takes is the log's own loss."""
        said: dict[str, Value] = {}
        count = 0
        for name in ("keys", "tags", "prefixes", "patterns", "urls"):
            values: tuple[str, ...] = getattr(batch, name)
            count += len(values)
            if values:
                said[name] = values[:_SHOWN]
        if batch.all:
            count, said["all"] = count + 1, True
        self._log("backend.purged", count=count, **said, soft=batch.soft, cause=batch.cause, attempt=batch.attempt)
        return PurgeResult()


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    """`type: log`."""
    return {"log": LogOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Backend | None:  # noqa: A002
    """The backend of `type: log`."""
    return LogBackend(options, context) if type == "log" and isinstance(options, LogOptions) else None
