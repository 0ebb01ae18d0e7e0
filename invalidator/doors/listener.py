"""A listening socket of the supervisor's loop: a TCP address, or a file that is there as long as somebody listens.

Accepting never waits, and rests when file descriptors have run out: the loop would be woken again and again otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from invalidator.topology.places import check_socket_path

REST_SECONDS = 1.0
_UNIX = "unix:"
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Listens at `host:port` or `unix:/path`; `mode` is that of the path's file, and by default as the umask says."""

    def __init__(self, address: str, backlog: int, mode: int | None = None) -> None:
        """Raises OSError."""
        self._path = address.removeprefix(_UNIX) if address.startswith(_UNIX) else None
        if self._path is not None:
            self._socket = _listening_file(self._path, backlog, mode)
            self._identity = _identity(self._path)
        else:
            self._socket = _listening_at(address, backlog)
        self._resting_until = 0.0

    def fileno(self) -> int:
        """Readable when somebody has come."""
        return self._socket.fileno()

    def is_there(self) -> bool:
        """Whether its address still leads here."""
        try:
            return self._path is None or _identity(self._path) == self._identity
        except OSError:
            return False

    def rest(self, now: float) -> float:
        """Seconds for which nobody is accepted; 0.0 when it does not rest."""
        return max(0.0, self._resting_until - now)

    def accept(self, now: float) -> socket.socket | None:
        """Whoever has come first; None when nobody has, or has gone again, or when no descriptor is left."""
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._resting_until = now + REST_SECONDS
            return None
        accepted.setblocking(False)
        return accepted

    def close(self) -> None:
        """Stop listening. The file goes, unless it is somebody else's by now."""
        with suppress(OSError):
            if self._path is not None and self.is_there():
                Path(self._path).unlink()
        self._socket.close()


def _listening_at(address: str, backlog: int) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        return _listening(listener, backlog)
    except OSError:
        listener.close()
        raise


def _listening_file(path: str, backlog: int, mode: int | None) -> socket.socket:
    try:
        check_socket_path(path)
    except ValueError as error:
        raise OSError(errno.ENAMETOOLONG, str(error)) from None
    listener = socket.socket(socket.AF_UNIX)
    try:
        if mode is not None:
            os.fchmod(listener.fileno(), mode)  # bind makes the file with it: there is no moment with another one
        _bind_file(listener, path)
        return _listening(listener, backlog)
    except OSError:
        listener.close()
        raise


def _listening(listener: socket.socket, backlog: int) -> socket.socket:
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def _bind_file(listener: socket.socket, path: str) -> None:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_abandoned(path):
            raise
        Path(path).unlink()
        listener.bind(path)


def _is_abandoned(path: str) -> bool:
    """Whether this is the file of a socket on which nobody listens: a daemon that was killed could not remove it."""
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)  # whoever listens there may be too busy to accept
        return client.connect_ex(path) == errno.ECONNREFUSED


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).lstat()
    return status.st_dev, status.st_ino
