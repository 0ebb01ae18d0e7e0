"""A backend that has a `send`, and a server of one answer at a time that says what a test tells it to, when it does."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from invalidator import BackendError, PurgeResult
from invalidator.slots import clock
from tests.support.lanes import Scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator import Batch

GOOD, BAD = b"+", b"-"


class Sending(Scripted):
    """Notes what it sends and on which thread it is called, and how often two batches were with it at the same time."""

    def __init__(self, answer: Callable[[Batch], Any] = lambda _: PurgeResult()) -> None:
        super().__init__(answer)
        self.sent: list[Under] = []
        self.threads: list[str] = []
        self.sends = True
        """Whether there is a connection; without one, the thread has to make it."""
        self.overlaps = 0
        self.answered: list[Under] = []
        """What the server has said yes to."""
        self.number = 0
        """Each batch notes it when it is sent."""
        self._busy = False

    def purge(self, batch: Batch) -> PurgeResult:
        self.begin()
        try:
            return super().purge(batch)
        finally:
            self.end()

    def send(self, batch: Batch) -> Any:
        if not self.sends:
            return None
        self.begin()
        self.sent.append(Under(self, batch))
        return self.sent[-1]

    def begin(self) -> None:
        self.threads.append(threading.current_thread().name)
        self.overlaps += self._busy
        self._busy = True

    def end(self) -> None:
        self._busy = False

    def close(self) -> None:
        super().close()
        for sent in self.sent:
            sent.close()


class Under:
    """A batch under way, over a connection of its own: a late answer is never somebody else's."""

    def __init__(self, backend: Sending, batch: Batch) -> None:
        self.batch = batch
        self.number = backend.number
        self.said = self.waited = False
        self._backend = backend
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    def say(self, answer: bytes) -> None:
        """The server's answer; nobody may be left who would read it."""
        self.said = True
        with suppress(OSError):
            self._theirs.send(answer)

    def fileno(self) -> int:
        return self._ours.fileno()

    def is_answered(self) -> bool:
        try:
            said = self._ours.recv(1)
        except BlockingIOError:
            return False
        self._backend.end()
        if said != GOOD:
            raise BackendError("server_error", "no")
        self._backend.answered.append(self)
        return True

    def wait(self) -> PurgeResult:
        self.waited = True
        self._backend.threads.append(threading.current_thread().name)
        if not select.select([self._ours], [], [], max(0.0, self.batch.deadline - clock()))[0]:
            self._backend.end()
            raise BackendError("timeout", "no answer in time")
        self.is_answered()
        return PurgeResult()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()
