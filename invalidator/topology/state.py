"""Whether the daemon's directories are fit for it: said at the start, and not first when one is needed."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING

from invalidator.topology.findings import Findings

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator.errors import Problem
    from invalidator.topology.load import Loaded

DEAD_LETTERS = "dead-letters"
"""The directory in it that has to be writable."""


def prepare(directory: Path) -> str:
    """Make the directory, and write a file in it that is gone at once. Returns what went wrong, or an empty text."""
    letters = directory / DEAD_LETTERS
    try:
        letters.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=letters, buffering=0) as file:
            file.write(b"\n")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def remark(loaded: Loaded) -> tuple[Problem, ...]:
    """A warning if this user could not make the directory or write there, or if anybody could replace the socket.

    Makes nothing: the daemon may be another's. It is found out from what is there; a full disk, say, is not.
    """
    findings = Findings(str(loaded.topology.file))
    findings.root = loaded.source
    if error := _obstacle(loaded.topology.supervisor.state_dir / DEAD_LETTERS):
        findings.warning(
            ("supervisor", "state_dir"),
            f"{loaded.topology.supervisor.state_dir} cannot be written by this user: {error}: {_what_needs_it(loaded)}",
        )
    if _is_anybodys(directory := loaded.topology.supervisor.control_socket.parent):
        findings.warning(
            ("supervisor", "control_socket"),
            f"{directory} may be written by anybody: who puts another socket there is taken for the daemon",
        )
    return findings.warnings


def _what_needs_it(loaded: Loaded) -> str:
    reading = [worker.name for worker in loaded.topology.workers if worker.delivery == "journal"]
    if not reading:
        return "dead letters would be lost"
    return f"dead letters would be lost, and who reads the journal would never be ready ({', '.join(reading)})"


def _is_anybodys(directory: Path) -> bool:
    # Not those of a group: where each user has a private one, they are usual. In a sticky one only the owner replaces.
    try:
        mode = directory.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _obstacle(directory: Path) -> str:
    """Why this directory cannot be made, or a file in it; empty if there is no reason to be seen."""
    try:
        there = next(path for path in (directory, *directory.parents) if path.exists() or path.is_symlink())
        if not there.is_dir():
            return os.strerror(errno.ENOTDIR)
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return os.strerror(errno.EROFS)
        return "" if os.access(there, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    except OSError as error:
        return error.strerror or str(error)
