"""A backend behind a guard: a plugin's code may raise what it likes, and harms its own backend alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator.errors import BackendError
from invalidator.lanes.answers import all_failed, checked
from invalidator.logs import Logger, Occasionally
from invalidator.slots import clock

if TYPE_CHECKING:
    from invalidator.backend import Backend
    from invalidator.messages import Batch, PurgeResult

Purge = Any
"""pluggy's HookCaller: called with batch=..., it gives a PurgeResult."""


class Guarded:
    """Asks the backend, and makes an answer of whatever comes of it."""

    def __init__(self, backend: Backend, purge: Purge, log: Logger) -> None:
        self._backend = backend
        self._purge = purge
        self._log = log
        self._seldom = Occasionally(10.0)

    def ask(self, batch: Batch) -> PurgeResult:
        """Have the batch purged."""
        try:
            return checked(self._purge(batch=batch), batch)
        except BackendError as error:
            return all_failed(batch, error)
        except BaseException as error:  # noqa: BLE001  # a plugin's: its backend has failed, not the worker
            self._log.error("purge.raised", error=repr(error))
            return all_failed(batch, BackendError("error", repr(error)))

    def subscribed(self, until: float) -> None:
        """Tell it how long the subscription is known to be alive."""
        try:
            self._backend.subscribed(until)
        except BaseException as error:  # noqa: BLE001  # a plugin's: it harms its own backend alone
            if (held := self._seldom.due("subscribed", clock())) is not None:
                self._log.error("plugin.raised", hook="subscribed", error=repr(error), held_back=held)

    def close(self) -> None:
        """Have it give back what it opened."""
        try:
            self._backend.close()
        except BaseException as error:  # noqa: BLE001  # a plugin's; there is nothing left that it could harm
            self._log.error("plugin.raised", hook="close", error=repr(error))
