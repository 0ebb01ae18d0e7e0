"""The deaths of one worker's processes: how many of which kind, and when the next process is due."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from invalidator.backoff import RESTART_WINDOW, restart_delay
from invalidator.status import Event, Failure
from invalidator.supervision.metrics import RESTART_REASONS

if TYPE_CHECKING:
    from invalidator.logs import Logger
    from invalidator.supervision.accounts import Errors
    from invalidator.topology.models import Restart


class Deaths:
    """Of the worker `name`. `due` is the monotonic second from which on there is to be a process, if there is none."""

    def __init__(self, name: str, log: Logger, errors: Errors, now: float) -> None:
        self.restarts = dict.fromkeys(RESTART_REASONS, 0)
        self.last: Failure | None = None
        self.due = now
        self._name = name
        self._log = log
        self._errors = errors
        self._crashes: list[float] = []
        self._failures = 0

    def forgive(self, now: float) -> None:
        """What comes next is another one, or has been ready: what was before says nothing about it."""
        self._failures = 0
        self.due = min(self.due, now)

    def planned(self, reason: str) -> None:
        """A process has been replaced because that was wished for."""
        self.restarts[reason] += 1

    def died(self, reason: str, detail: str, now: float, pace: Restart, *, was_ready: bool) -> None:
        """The process in charge has ended, and nobody had asked it to."""
        self._crashes = [at for at in self._crashes if now - at < RESTART_WINDOW]
        if was_ready:
            self._crashes.append(now)
        else:
            self._failures += 1
        self.restarts[reason] += 1
        self.due = now + self._delay(now, pace)
        self.last = self.tell("died", reason, detail)

    def unborn(self, error: str, now: float, pace: Restart) -> None:
        """It could not be forked: that counts as a death before it was ready."""
        self._failures += 1
        self.due = now + self._delay(now, pace)
        self.last = Failure(at=time.time(), reason="unborn", detail=error)
        self._log.error("worker.unborn", error=error, delay=self.due - now)

    def tell(self, what: str, reason: str, detail: str) -> Failure:
        """Have it stand among the daemon's latest errors."""
        failed = Failure(at=time.time(), reason=reason, detail=detail)
        self._errors.add(Event(at=failed.at, worker=self._name, what=what, detail=f"{reason}: {detail}"))
        return failed

    def _delay(self, now: float, pace: Restart) -> float:
        return restart_delay(
            self._crashes, self._failures, now, first=pace.first, longest=pace.longest, chance=random.random()
        )
