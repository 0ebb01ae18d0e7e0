"""Has cursors written by a thread: a disk may take seconds, and the worker's loop may not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from invalidator.logs import Logger, Occasionally
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_SECONDS = 1.0


class Keeper:
    """Keeps the newest of what it is given, and again each second what could not be written.

    `kept` counts the versions: with the first, a successor has something to go on from. `trouble` is why the last
    attempt has failed, and empty after one that has not.
    """

    def __init__(self, write: Callable[[bytes], None], wake: Callable[[], None], log: Logger) -> None:
        self.kept = 0
        self.trouble = ""
        self._write = write
        self._wake = wake
        self._log = log
        self._seldom = Occasionally(10.0)
        self._condition = threading.Condition()
        self._waiting: bytes | None = None
        self._version = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="cursors", daemon=True)

    def keep(self, data: bytes) -> int:
        """Have this written, instead of what still waits. Returns its version."""
        with self._condition:
            if not self._thread.ident:
                self._thread.start()
            self._waiting = data
            self._version += 1
            self._condition.notify()
            return self._version

    def close(self, deadline: float) -> bool:
        """End, once what waits was written or has failed, or at this monotonic second. Whether all of it is kept."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread.ident:
            self._thread.join(max(0.0, deadline - clock()))
        return self.kept == self._version

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            data, version = waiting
            try:
                self._write(data)
            except OSError as error:
                self._failed(data, str(error))
            else:
                self.kept, self.trouble = version, ""
            self._wake()

    def _next(self) -> tuple[bytes, int] | None:
        with self._condition:
            if self.trouble:
                # What it is given meanwhile is no reason to try again: the disk is asked each second.
                self._condition.wait_for(lambda: self._closed, RETRY_SECONDS)
            while self._waiting is None and not self._closed:
                self._condition.wait()
            data, self._waiting = self._waiting, None
            return None if data is None else (data, self._version)

    def _failed(self, data: bytes, error: str) -> None:
        self.trouble = error
        with self._condition:
            if not self._closed:
                self._waiting = self._waiting or data
        if (held := self._seldom.due("cursors", clock())) is not None:
            self._log.error("cursors.not_kept", error=error, held_back=held)
