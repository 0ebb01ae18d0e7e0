"""A backend behind a guard: a plugin's code may raise what it likes, and harms its own backend alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from invalidator.errors import BackendError
from invalidator.lanes.answers import all_failed, checked
from invalidator.logs import Logger, Occasionally
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.backend import Backend, Sent
    from invalidator.messages import Batch, PurgeResult

VOUCHED_EVERY = 0.6
"""Seconds: an inline backend is told at least so often that all is well, or that it is not. Applications that it
serves from memory take a silence of a second for the worker's death."""

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
        return self._answer(partial(self._purge, batch=batch), batch)

    def send(self, batch: Batch) -> tuple[Sent, int] | None:
        """Have the batch sent without a wait, and what to wait for; None if it is to be asked for."""
        try:
            sent = self._backend.send(batch)
            return (sent, _fd(sent.fileno())) if sent else None
        except BackendError:
            return None
        except BaseException as error:  # noqa: BLE001  # a plugin's, as above
            self._complain("send", error)
            return None

    def is_answered(self, sent: Sent) -> bool | None:
        """Whether all of it is purged; None if that cannot be said without asking."""
        try:
            return _bool(sent.is_answered())
        except BackendError:
            return None
        except BaseException as error:  # noqa: BLE001  # a plugin's, as above
            self._complain("is_answered", error)
            return None

    def await_answer(self, sent: Sent, batch: Batch) -> PurgeResult:
        """To what was sent; waits as `ask` does."""
        return self._answer(lambda: sent.wait(), batch)  # noqa: PLW0108  # a plugin's object may have no such method

    def subscribed(self, until: float) -> None:
        """Tell it how long the subscription is known to be alive."""
        try:
            self._backend.subscribed(until)
        except BaseException as error:  # noqa: BLE001  # a plugin's: it harms its own backend alone
            self._complain("subscribed", error)

    def close(self) -> None:
        """Have it give back what it opened."""
        try:
            self._backend.close()
        except BaseException as error:  # noqa: BLE001  # a plugin's; there is nothing left that it could harm
            self._log.error("plugin.raised", hook="close", error=repr(error))

    def _complain(self, hook: str, error: BaseException) -> None:
        if (held := self._seldom.due(hook, clock())) is not None:
            self._log.error("plugin.raised", hook=hook, error=repr(error), held_back=held)

    def _answer(self, call: Callable[[], object], batch: Batch) -> PurgeResult:
        try:
            return checked(call(), batch)
        except BackendError as error:
            return all_failed(batch, error)
        except BaseException as error:  # noqa: BLE001  # a plugin's: its backend has failed, not the worker
            self._log.error("purge.raised", error=repr(error))
            return all_failed(batch, BackendError("error", repr(error)))


def _fd(value: object) -> int:
    # Anything else would raise where the worker's loop waits for it, and for all that it waits for.
    if type(value) is int and 0 <= value < 1 << 31:
        return value
    raise TypeError(f"fileno gave {str(value)[:80]!r}")


def _bool(value: object) -> bool:
    # A PurgeResult full of failures is true as well, and would be taken for a purge.
    if isinstance(value, bool):
        return value
    raise TypeError(f"is_answered gave {type(value).__name__}, not a bool")
