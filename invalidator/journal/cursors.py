"""How far each lane of a worker is in the Stream, in a file: a successor goes on from there.

One file for each worker, replaced as a whole: a reader finds the former one or the new one, whenever the process or
the machine ends. Two processes of one worker may both write it. What either says is true: of two cursors the older one
only has more read again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path  # noqa: TC003  msgspec reads the annotations of this file
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import msgspec

from invalidator.journal.entry import parse_id
from invalidator.journal.position import Position
from invalidator.messages import GapCause  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    from invalidator.logs import Logger

DIRECTORY = "cursors"
"""Its place in the state_dir."""
LARGEST = 4 << 20
"""Bytes. No worker has so many backends; whatever is larger is none of ours."""


class Cursor(msgspec.Struct, frozen=True):
    """One lane: everything up to `at` is done with; `owes` is the cause of a flush that it has yet to do."""

    at: str
    added: int | None = None
    owes: GapCause | Literal[""] = ""

    @property
    def position(self) -> Position | None:
        """The same as a value to reckon with; None if it is none."""
        at = parse_id(self.at)
        return None if at is None or (self.added or 0) < 0 else Position(at, self.added)


class Cursors(msgspec.Struct, frozen=True, kw_only=True):
    """All lanes of a worker, by backend and node, and what they hold for.

    `server` is the run id of the Redis that the positions are of. `unjournaled` is the wall second at which a message
    last came that is not in the Stream, 0.0: never. `setups` has of each backend a word for how it was set up: one with
    another word may be another server.
    """

    version: Literal[1] = 1
    stream: str
    pattern: str
    server: str = ""
    unjournaled: float = 0.0
    lanes: dict[str, Cursor] = {}
    setups: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(Cursors)


def path_of(state_dir: Path, worker: str) -> Path:
    """Where a worker's file is."""
    return state_dir / DIRECTORY / f"{quote(worker, safe='')}.json"


def load(path: Path) -> Cursors | None:
    """What is kept in a file; None if there is none. Raises OSError, and ValueError for what is none of ours."""
    try:
        # Should it be a pipe, nobody waits for whoever would write to it.
        with open(path, "rb", opener=_at_once) as file:
            data = file.read(LARGEST + 1)
        kept = _DECODER.decode(data) if len(data) <= LARGEST else None
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if kept is None or any(cursor.position is None for cursor in kept.lanes.values()):
        raise ValueError("not what we have written")
    return kept


class CursorFile:
    """The file of one worker. Both methods wait for the disk."""

    def __init__(self, state_dir: Path, worker: str, log: Logger) -> None:
        self.path = path_of(state_dir, worker)
        self.is_lost = False
        """Whether `read` has found what it cannot go on from: then what was missed since is known to nobody."""
        self._log = log

    def read(self, stream: str, pattern: str) -> Cursors | None:
        """What was kept last, if that is for this Stream and this pattern; None if there is nothing to go on from."""
        self._sweep()
        try:
            kept = load(self.path)
        except (OSError, ValueError) as error:
            self.is_lost = True
            self._log.error("cursors.unusable", file=str(self.path), error=str(error), then="flush")
            return None
        if kept and (kept.stream, kept.pattern) != (stream, pattern):
            self.is_lost = True
            self._log.warning("cursors.of_another", stream=kept.stream, pattern=kept.pattern, then="flush")
            return None
        return kept

    def write(self, data: bytes) -> None:
        """Replace what is kept; it survives a loss of power. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._draft(str(os.getpid()))
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _draft(self, pid: str) -> Path:
        return self.path.with_suffix(f".{pid}.tmp")

    def _sweep(self) -> None:
        """Who is killed while it writes leaves its draft, and nobody else would ever take that away."""
        with contextlib.suppress(OSError):
            for file in self.path.parent.glob(self._draft("*").name):
                pid = file.name.removesuffix(".tmp").removeprefix(f"{self.path.stem}.")
                if file == self._draft(pid) and pid.isascii() and pid.isdigit() and not _is_alive(int(pid)):
                    file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is somebody else's
    return True


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def cursor_at(position: Position, owes: GapCause | Literal[""] = "") -> Cursor:
    """A lane that has done with everything up to this position."""
    return Cursor(str(position.at), position.added, owes)


def encoded(cursors: Cursors) -> bytes:
    """The file's contents."""
    return msgspec.json.encode(cursors) + b"\n"
