"""What became of a batch's targets, until the end or until an error ended it in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.messages import Failure, PurgeResult, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.errors import BackendError
    from invalidator.messages import Batch, Kind


class Outcome:
    """Collects what has been settled, one way or the other; the rest of the batch is still open."""

    def __init__(self, batch: Batch) -> None:
        self._open: dict[Kind, dict[str, None]] = {
            "key": dict.fromkeys(batch.keys),
            "tag": dict.fromkeys(batch.tags),
            "prefix": dict.fromkeys(batch.prefixes),
            "pattern": dict.fromkeys(batch.patterns),
            "all": {"": None} if batch.all else {},
        }
        self._failures: list[Failure] = []
        self._purged_any = False

    def purged(self, kind: Kind, values: Iterable[str]) -> None:
        for value in values:
            del self._open[kind][value]
        self._purged_any = True

    def failed(self, target: Target, error: BackendError, *, retry: bool = False) -> None:
        """This target alone has failed."""
        del self._open[target.kind][target.value]
        self._failures.append(Failure(target, error.reason, retry=retry, detail=error.detail))

    def result(self) -> PurgeResult:
        """The answer when the end was reached."""
        return PurgeResult(tuple(self._failures))

    def broken_off(self, error: BackendError) -> PurgeResult:
        """The answer when `error` ended it: all that was still open has failed. Raises it where nothing was purged."""
        if not self._purged_any and not self._failures:
            raise error
        rest = [Target(kind, value) for kind, values in self._open.items() for value in values]
        failures = [Failure(target, error.reason, retry=error.retry, detail=error.detail) for target in rest]
        return PurgeResult((*self._failures, *failures), error.retry_after)
