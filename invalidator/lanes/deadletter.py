"""Where targets go that nobody will purge: one bounded box for each lane, a JSON object a line."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING

from invalidator.letters import Box, decode, encode, has_reason
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Target
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from invalidator.letters import Part

FILE_LIMIT = 16 << 20
"""Bytes, of what is tried again as well."""
GARBAGE_LIMIT = 1 << 20
_SLICE = 1_000
STOPPED = "stopped"
"""The reason of what was pending when its worker stopped: nobody has refused it."""

Letter = tuple["Target", str]
"""A target, and why nobody will purge it."""


class DeadLetters:
    """One lane's box, in files below `directory`, which may be the state_dir of several processes.

    `count` is how many letters are in it, those that are being tried again among them; `written` how many this process
    has put there.
    """

    def __init__(self, directory: Path, box: Box, log: Logger, limit: int = FILE_LIMIT) -> None:
        self.box = box
        self.written = 0
        self._directory = directory
        self._path = self._file()
        self._limit = limit
        self._log = log
        self._seldom = Occasionally(10.0)
        self._unsynced = False
        self._aside: int | None = None
        """What was set aside, open: by its name alone, another process could have put another file in its place."""
        self.count = _lines_in(self._path) + _lines_in(self._file("retry"))

    def write(self, letters: Sequence[Letter], at: float) -> int:
        """Keep these, each with its reason; `at` is in wall seconds. Returns how many were kept: the rest is lost.

        The caller may be the loop that reads from Redis: it waits for the page cache at most.
        """
        kept = 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                for begin in range(0, len(letters), _SLICE):
                    lines = self._lines(letters[begin : begin + _SLICE], at)
                    written = self._append(fd, lines)
                    kept += written
                    if written < len(lines):
                        raise OSError(f"the disk is full, or the file has reached its bound of {self._limit} bytes")
            finally:
                os.close(fd)
                self._unsynced = True  # not before: who syncs meanwhile has not had all of it
        except OSError as error:
            self._complain(error, lost=len(letters) - kept)
        self.count += kept
        self.written += kept
        return kept

    def sync(self) -> None:
        """Wait until what was written survives a loss of power. Raises OSError; from any thread.

        To be done before a cursor says that these have come to their end: it is all that would bring them back.
        """
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            for path in (self._path, self._file("retry"), self._path.parent):
                _sync(path)
        except OSError:
            self._unsynced = True
            raise

    # Once more: what is being tried again is a file of its own, until it has come to an end. Whoever is killed in the
    # middle of it leaves that file behind, and with it all that is in there.

    def set_aside(self) -> bool:
        """Have what is in the box be tried again, or what was left of the last time. False: it is empty."""
        self._let_go()
        try:
            if not self.is_set_aside():
                self._path.rename(self._file("retry"))
            self._aside = os.open(self._file("retry"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def has_unfinished(self) -> bool:
        """Whether there is something in it that was cut short: a stop's leftovers, or letters that are tried again."""
        if self.is_set_aside():
            return True
        try:
            with self._path.open("rb") as file:
                return any(has_reason(line, STOPPED) for line in file)
        except OSError:
            return False

    def standing(self) -> set[Target]:
        """What is being tried again: it is a letter until all of that file have ended, and need not be another."""
        try:
            with self._file("retry").open("rb") as file:
                return {Target(one.kind, one.target) for one in map(decode, file) if one}
        except OSError:
            return set()

    def is_set_aside(self) -> bool:
        """Whether something is being tried again, or was when its process was killed."""
        return self._file("retry").exists()

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes of what was set aside. Raises OSError."""
        return os.pread(self._opened(), size, offset)

    def done_with(self, size: int, lines: int) -> bool:
        """So many bytes, and lines, of what was set aside have come to an end. False: there is more. Raises OSError."""
        ours, file = os.fstat(self._opened()), self._file("retry")
        if ours.st_size > size:
            return False  # another process of this worker had it open when it was set aside
        # An elder process and its successor may both try it again. The other was done with it first, and has set aside
        # what came since: that is not ours to remove.
        if file.exists() and os.path.samestat(ours, file.stat()):
            file.unlink()
        self._let_go()
        self.count = max(0, self.count - lines)
        return True

    def keep_apart(self, lines: Sequence[bytes]) -> None:
        """These are no letters: a person may want to see them."""
        with open(self._file("garbage"), "ab", opener=_private) as file:
            for line in lines:
                if file.tell() + len(line) < GARBAGE_LIMIT:
                    file.write(line + b"\n")

    def _file(self, part: Part = "") -> Path:
        return self.box.file(self._directory, part)

    def _opened(self) -> int:
        if self._aside is None:
            raise FileNotFoundError(f"nothing was set aside: {self._file('retry')}")
        return self._aside

    def _let_go(self) -> None:
        if self._aside is not None:
            os.close(self._aside)
            self._aside = None

    def _beside(self) -> int:
        try:
            return self._file("retry").stat().st_size
        except OSError:
            return 0

    def _append(self, fd: int, lines: list[bytes]) -> int:
        """Append as many whole lines as there is room for. Returns how many.

        Others may append at the same time: another server's lane, another process of this worker. So nothing is cut off
        that may not be ours, and a half line that somebody left does not spoil what follows it.
        """
        size = os.fstat(fd).st_size
        room = self._limit - size - self._beside()
        fitting = 0
        while fitting < len(lines) and room >= len(lines[fitting]):
            room -= len(lines[fitting])
            fitting += 1
        if not fitting:
            return 0
        head = b"\n" if size and os.pread(fd, 1, size - 1) != b"\n" else b""
        written = os.write(fd, head + b"".join(lines[:fitting]))
        end = os.lseek(fd, 0, os.SEEK_CUR)  # of what we have written, wherever the others had got to
        ends = list(accumulate((len(line) for line in lines[:fitting]), initial=len(head)))
        whole = sum(reached <= written for reached in ends[1:])
        left = written - (ends[whole] if whole else 0)
        if left and os.fstat(fd).st_size == end:
            os.ftruncate(fd, end - left)
        return whole

    def _complain(self, error: OSError, lost: int) -> None:
        if (held := self._seldom.due("failed", clock())) is not None:
            self._log.error("deadletter.failed", path=str(self._path), error=str(error), lost=lost, held_back=held)

    def _lines(self, letters: Iterable[Letter], at: float) -> list[bytes]:
        return [encode(self.box, target, reason, at) for target, reason in letters]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # set aside meanwhile: then it is the next; or they have all come to their end
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lines_in(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0
