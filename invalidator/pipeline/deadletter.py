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

    from invalidator.messages import FailureReason, Target

FILE_LIMIT = 16 << 20


class DeadLetters:
    """Appends to one file below `directory`. Nothing is read back here, so a file that is damaged stops nobody."""

    def __init__(self, directory: Path, worker: str, backend: str, log: Logger, limit: int = FILE_LIMIT) -> None:
        self._path = directory / "dead-letters" / f"{quote(worker, safe='')}.{quote(backend, safe='')}.jsonl"
        self._names = {"worker": worker, "backend": backend}
        self._limit = limit
        self._log = log
        self._seldom = Occasionally(10.0)

    def write(self, letters: Sequence[tuple[Target, FailureReason | str]], at: float) -> bool:
        """Keep these, each with its reason; `at` is in wall seconds. False when they could not be kept: they are lost.

        One write for all: the caller may be the loop that reads from Redis, which waits for the page cache at most.
        """
        data = "".join(self._lines(letters, at)).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size + len(data) > self._limit:
                    raise OSError(f"the file has reached its bound of {self._limit} bytes")
                os.write(fd, data)
            finally:
                os.close(fd)
        except OSError as error:
            if (held := self._seldom.due("failed", clock())) is not None:
                self._log.error(
                    "deadletter.failed", path=str(self._path), error=str(error), targets=len(letters), held_back=held
                )
            return False
        return True

    def _lines(self, letters: Iterable[tuple[Target, FailureReason | str]], at: float) -> Iterable[str]:
        for target, reason in letters:
            yield (
                json.dumps(
                    {**self._names, "at": round(at, 3), "kind": target.kind, "target": target.value, "reason": reason}
                )
                + "\n"
            )
