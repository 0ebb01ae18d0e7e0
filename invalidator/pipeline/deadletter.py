"""Where targets go that nobody will purge: one bounded file for each lane, a JSON object a line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from invalidator.logs import Logger, Occasionally
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from invalidator.messages import Target

FILE_LIMIT = 16 << 20
_SLICE = 1_000

Letter = tuple["Target", str]
"""A target, and why nobody will purge it."""


class DeadLetters:
    """Appends to one file below `directory`. Nothing is read back here, so a file that is damaged stops nobody."""

    def __init__(self, directory: Path, worker: str, backend: str, log: Logger, limit: int = FILE_LIMIT) -> None:
        self._path = directory / "dead-letters" / f"{quote(worker, safe='')}.{quote(backend, safe='')}.jsonl"
        self._names = {"worker": worker, "backend": backend}
        self._limit = limit
        self._log = log
        self._seldom = Occasionally(10.0)

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
        except OSError as error:
            self._complain(error, lost=len(letters) - kept)
        return kept

    def _append(self, fd: int, lines: list[bytes]) -> int:
        """Append as many whole lines as there is room for. Returns how many."""
        end = os.fstat(fd).st_size
        room = self._limit - end
        fitting = 0
        while fitting < len(lines) and room >= len(lines[fitting]):
            room -= len(lines[fitting])
            fitting += 1
        written = os.write(fd, b"".join(lines[:fitting])) if fitting else 0
        whole = 0
        for line in lines[:fitting]:
            if written < len(line):
                break
            written -= len(line)
            end += len(line)
            whole += 1
        if written:
            os.ftruncate(fd, end)  # half a line would spoil the one that is appended to it
        return whole

    def _complain(self, error: OSError, lost: int) -> None:
        if (held := self._seldom.due("failed", clock())) is not None:
            self._log.error("deadletter.failed", path=str(self._path), error=str(error), lost=lost, held_back=held)

    def _lines(self, letters: Iterable[Letter], at: float) -> list[bytes]:
        return [self._line(target, reason, at) for target, reason in letters]

    def _line(self, target: Target, reason: str, at: float) -> bytes:
        letter = {**self._names, "at": round(at, 3), "kind": target.kind, "target": target.value, "reason": reason}
        return json.dumps(letter).encode() + b"\n"
