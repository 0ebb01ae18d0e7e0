"""Signals as events of a loop: a handler only notes the signal and wakes the loop; everything else happens there."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Waker:
    """A pipe that ends a loop's wait. `wake` may be called from any thread, from a signal handler, and after a fork."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Readable once somebody has called `wake`."""
        return self._read

    @property
    def wakeup_fd(self) -> int:
        """The end to write to."""
        return self._write

    def wake(self) -> None:
        """End the wait. A pipe that is full wakes as well as one that holds a byte."""
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def drain(self) -> bytes:
        """Take the bytes out, so that the next wait waits."""
        taken = b""
        with suppress(BlockingIOError):
            while data := os.read(self._read, 4096):
                taken += data
        return taken

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)


class Signals:
    """The signals that came since they were last asked for. To be made in the main thread."""

    def __init__(self, waker: Waker, wanted: Iterable[signal.Signals], ignored: Iterable[signal.Signals] = ()) -> None:
        self._came: list[signal.Signals] = []
        # The C handler writes to the pipe even if Python is busy; ours runs later, and only takes a note.
        signal.set_wakeup_fd(waker.wakeup_fd, warn_on_full_buffer=False)
        for number in wanted:
            signal.signal(number, self._note)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    def take(self) -> list[signal.Signals]:
        """The signals in the order in which they came."""
        came, self._came = self._came, []
        return came

    def _note(self, number: int, frame: object) -> None:
        del frame
        self._came.append(signal.Signals(number))


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """Until the process has ended. The interpreter takes its handlers back before that, and one more signal would then
    make a clean stop look like a death."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def hold_back(number: signal.Signals) -> None:
    """Have the kernel keep this signal for us until `let_through`: without a handler it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def let_through(number: signal.Signals) -> None:
    """The opposite of `hold_back`, once there is a handler: what came meanwhile is handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


@contextmanager
def blocked() -> Iterator[None]:
    """No signal is handled inside: a child forked between a signal and its handler would run the parent's handler."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forget_inherited() -> None:
    """In a child, before anything else: the parent's handlers and its wakeup pipe are not ours."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
