"""Does a backend really purge? Plants a key that nobody has, has it purged as a worker would, and looks.

What cannot hold a key is only asked to purge one; what must not even be asked that (a purge that costs money) is only
connected to. Who plants and looks is another object than who purges, with a connection of its own, as applications are:
where a balancer gives each connection another server, the purge misses, and that is seen. The key has its time to live,
so that nothing stays behind whatever happens.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from invalidator.doctor.wording import shown
from invalidator.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.backend import Backend, Canary
    from invalidator.messages import PurgeResult

SECONDS = 15.0
"""How long a canary lives if nobody purges it."""

Outcome = Literal[
    "hanging",  # nothing came of it in time
    "broken",  # it could not even be made
    "unreachable",  # connect() failed
    "reached",  # connect() worked, and no purge was tried
    "dry",  # the same, since every worker has it as a dry run
    "refused",  # the purge failed
    "unplanted",  # no canary could be stored; where that is for lack of a right, the purge was taken
    "unheld",  # what had been stored was not there even before the purge
    "kept",  # the canary is still there
    "accepted",  # the purge was taken; this type can show no more
    "purged",  # the canary is gone
]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one backend, or one of its servers."""

    backend: str
    type: str
    node: str
    outcome: Outcome = "hanging"
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend to be tried. `worker` purges; `application` plants and looks, and may be the same where nobody does.

    `forget` purges one key, through the hooks. `canary`: how far to go; `dry`: no worker ever purges it.
    """

    blank: Trial
    worker: Backend
    application: Backend
    forget: Callable[[str], PurgeResult]
    canary: Canary
    dry: bool

    def attempt(self) -> Trial:
        """Try it. Blocks for as long as the backend lets us wait; whatever it raises is an outcome."""
        began = time.monotonic()
        try:
            trial = self._tried()
        finally:
            for backend in {self.worker, self.application}:
                with suppress(Exception):  # it has said what there was to know
                    backend.close()
        return replace(trial, seconds=time.monotonic() - began)

    def _tried(self) -> Trial:
        try:
            self.worker.connect()
        except Exception as error:  # noqa: BLE001  a plugin's code may raise anything, here and below
            return failed(self.blank, "unreachable", error)
        if self.dry or self.canary == "none":
            return replace(self.blank, outcome="dry" if self.dry else "reached")
        key = f"invalidator:doctor:{secrets.token_hex(8)}"
        if self.canary == "purge":
            return self._refusal(key) or replace(self.blank, outcome="accepted")
        return self._proven(key)

    def _proven(self, key: str) -> Trial:
        try:
            self.application.plant(key, SECONDS)
            held = self.application.holds(key)
        except Exception as error:  # noqa: BLE001
            unplanted = failed(self.blank, "unplanted", error)
            # Who may purge need not be allowed to store.
            return (self._refusal(key) if unplanted.reason == "auth" else None) or unplanted
        if refused := self._refusal(key):
            return refused
        try:
            kept = self.application.holds(key)
        except Exception as error:  # noqa: BLE001
            return failed(self.blank, "refused", error)
        return replace(self.blank, outcome="kept" if kept else "purged" if held else "unheld")

    def _refusal(self, key: str) -> Trial | None:
        """Purge the key: None if that worked."""
        try:
            failures = self.forget(key).failures
        except Exception as error:  # noqa: BLE001
            return failed(self.blank, "refused", error)
        if not failures:
            return None
        return replace(self.blank, outcome="refused", reason=failures[0].reason, detail=shown(failures[0].detail, 200))


def failed(blank: Trial, outcome: Outcome, error: Exception) -> Trial:
    """The trial that ended with this error."""
    if isinstance(error, BackendError):
        return replace(blank, outcome=outcome, reason=error.reason, detail=shown(error.detail, 200))
    return replace(blank, outcome=outcome, reason="error", detail=shown(f"{type(error).__name__}: {error}", 200))
