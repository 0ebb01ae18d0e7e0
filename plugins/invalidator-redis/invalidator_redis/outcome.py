"""What became of a batch's targets, until the end or until an error ended it in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.messages import Failure, PurgeResult, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.errors import BackendError
    from invalidator.messages import Batch, Kind


class Outcome:
    """Collects what has been settled, one way or the other; the rest of the batch is still open."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._purged: list[tuple[Kind, Sequence[str]]] = []
        self._failures: list[Failure] = []

    def purged(self, kind: Kind, values: Sequence[str]) -> None:
        """These are gone."""
        self._purged.append((kind, values))  # as they are: nearly always nobody looks at each of them

    def failed(self, target: Target, error: BackendError, *, retry: bool = False) -> None:
        """This target alone has failed."""
        self._failures.append(Failure(target, error.reason, retry=retry, detail=error.detail))

    def result(self) -> PurgeResult:
        """The answer when the end was reached."""
        return PurgeResult(tuple(self._failures))

    def broken_off(self, error: BackendError) -> PurgeResult:
        """The answer when `error` ended it: all that was still open has failed. Raises it where nothing was purged."""
        if not self._purged and not self._failures:
            raise error
        settled = {failure.target for failure in self._failures}
        settled.update(Target(kind, value) for kind, values in self._purged for value in values)
        rest = [target for target in targets_of(self._batch) if target not in settled]
        failures = [Failure(target, error.reason, retry=error.retry, detail=error.detail) for target in rest]
        return PurgeResult((*self._failures, *failures), error.retry_after)
