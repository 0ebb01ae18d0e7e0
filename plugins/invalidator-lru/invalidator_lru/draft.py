"""A table's file: made, or taken over from an earlier daemon, in two steps, so that of several all change or none."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator_lru.records import set_feeders
from invalidator_lru.table import (
    CHANGES,
    DEFAULT_SLOTS,
    EPOCH,
    MAGIC,
    MAX_FEEDERS,
    WORD,
    Table,
    TableError,
    blank_header,
    open_table,
    stamps,
    table_size,
)

if TYPE_CHECKING:
    from pathlib import Path

_WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True, slots=True)
class Plan:
    """A table as the topology wants it. `group` is a gid, -1 for the daemon's own."""

    path: Path
    feeders: frozenset[str]
    slots: int = DEFAULT_SLOTS
    mode: int = 0o644
    group: int = -1


class Draft:
    """A table that is ready to take effect, and has had none yet: `commit` it, or `discard` it."""

    def __init__(self, plan: Plan) -> None:
        """Raises TableError when the table can neither be taken over nor made. Nothing has changed then."""
        if len(plan.feeders) > MAX_FEEDERS:
            raise TableError(f"{plan.path}: {len(plan.feeders)} workers feed it; a table takes {MAX_FEEDERS}")
        self._plan = plan
        self._new: Path | None = None
        self._old = _opened(plan.path)
        if not _can_be_taken_over(plan, self._old):
            try:
                _refuse_foreign(plan.path)
                self._new = write_new(plan)
            except OSError as error:
                raise TableError(f"cannot make {plan.path}: {error.strerror}") from error

    def commit(self, *, fresh: bool) -> Table:
        """Put it in its place. `fresh`: none of its feeders is alive, so nothing that anyone has kept is trusted."""
        plan = self._plan
        if self._new is None:
            assert self._old is not None  # noqa: S101 -- what __init__ has established
            table = self._old
        else:
            try:
                self._new.replace(plan.path)
            except OSError as error:
                self.discard()
                raise TableError(f"cannot put {plan.path} in its place: {error.strerror}") from error
            table = open_table(plan.path, writable=True)
            if self._old is not None:
                set_feeders(self._old, ())  # those who have mapped it look for the new one
        if fresh:
            set_feeders(table, ())
            table.words[EPOCH] = table.words[CHANGES] = stamps.next()
        set_feeders(table, plan.feeders)
        return table

    def discard(self) -> None:
        """Leave no trace."""
        if self._new is not None:
            self._new.unlink(missing_ok=True)


def _opened(path: Path) -> Table | None:
    try:
        return open_table(path, writable=True)
    except TableError:
        return None


def _can_be_taken_over(plan: Plan, table: Table | None) -> bool:
    """Whether the table at the path serves as it is. Sets its mode and group."""
    if table is None or table.slots != plan.slots:
        return False
    try:
        status = plan.path.stat()
        # Somebody else may have it open for writing, and could shorten it under us.
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            return False
        plan.path.chmod(plan.mode)
        os.chown(plan.path, -1, plan.group)
    except OSError:
        return False
    return True


def _refuse_foreign(path: Path) -> None:
    """A path may be mistyped: what is no table is not replaced. Zeros are what a power cut leaves of one."""
    if not path.exists():
        return
    if not path.is_file():  # a FIFO would hold us for ever
        raise TableError(f"{path} is not a regular file: remove it, or choose another path")
    with path.open("rb") as file:
        start = file.read(WORD)
    if start.strip(b"\0") and start != MAGIC.to_bytes(WORD, "little") and start != MAGIC.to_bytes(WORD, "big"):
        raise TableError(f"{path} is something else than a generation table: remove it, or choose another path")


def write_new(plan: Plan) -> Path:
    """A complete new table beside the path, under another name, that nobody feeds yet. Raises OSError."""
    with suppress(FileExistsError, FileNotFoundError):
        plan.path.parent.mkdir()  # the last folder only: a longer way that is missing is a mistake
        plan.path.parent.chmod(0o755)  # whatever the umask: applications are other users
    path = plan.path.with_name(f".{plan.path.name}.{os.getpid()}")
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Written, not truncated to size: on a full tmpfs a page that is not there yet is a SIGBUS, later.
        content = blank_header(plan.slots, stamps.next()).ljust(table_size(plan.slots), b"\0")
        while content:
            content = content[os.write(fd, content) :]
        os.fchown(fd, -1, plan.group)
        os.fchmod(fd, plan.mode)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return path
