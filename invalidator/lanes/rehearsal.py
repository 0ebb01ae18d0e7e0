"""`dry_run: true`: a backend that is never asked. What it would have been asked for is said instead."""

from __future__ import annotations

import json
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from invalidator.lanes.guarded import Guarded
from invalidator.messages import PurgeResult
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.messages import Batch

LINES_SHOWN = 10
LONGEST_LINE = 200
"""Characters."""
MOST_BYTES = 3_000
"""Of all lines as JSON: what is longer would not fit into one line of the log, and be left out of it as a whole."""
MOST_COUNTED = 100_000
SAID_A_SECOND = 10
"""A dry run is there to be read, and nobody reads faster. What is held back is counted."""


class Rehearsal(Guarded):
    """Neither the backend nor a plugin around it takes part: nothing is sent, opened or vouched for."""

    _second = 0
    _said = 0
    _held_back = 0

    def ask(self, batch: Batch) -> PurgeResult:
        """Say what would have been asked for. Everything counts as answered; the lane ends it as skipped."""
        if self._may_say():
            lines, more = self._preview(batch)
            held, self._held_back = self._held_back, 0
            self._log.info("purge.rehearsed", would=lines, more=more, cause=batch.cause, held_back=held)
        else:
            self._held_back += 1
        return PurgeResult()

    def subscribed(self, until: float) -> None:
        """It purges nothing, so that it can vouch for nothing."""

    def _may_say(self) -> bool:
        if int(clock()) != self._second:
            self._second, self._said = int(clock()), 0
        self._said += 1
        return self._said <= SAID_A_SECOND

    def _preview(self, batch: Batch) -> tuple[list[str], int]:
        try:
            return _first(self._backend.preview(batch))
        except BaseException as error:  # noqa: BLE001  # a plugin's: it harms its own words alone
            self._log.error("plugin.raised", hook="preview", error=repr(error))
            return [], 0


def _first(lines: Iterable[str]) -> tuple[list[str], int]:
    iterator = iter(lines)
    first = [str(line)[:LONGEST_LINE] for line in islice(iterator, LINES_SHOWN)]
    sizes = accumulate(len(json.dumps(line)) for line in first)
    shown = [line for line, size in zip(first, sizes, strict=True) if size <= MOST_BYTES]
    return shown, len(first) - len(shown) + sum(1 for _ in islice(iterator, MOST_COUNTED))
