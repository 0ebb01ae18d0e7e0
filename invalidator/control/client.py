"""The commands' side of the control socket: asks, and waits for the answer, but never for ever."""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

import msgspec

from invalidator.control.protocol import Answer, encode
from invalidator.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator.control.protocol import AnyRequest

PATIENCE = 5.0
"""Seconds. A supervisor answers in milliseconds; one that does not by then hangs."""
_LONGEST_ANSWER = 64 << 20
_CHUNK = 64 << 10
_TIMEVAL = struct.Struct("@ll")
_ANSWERS = msgspec.json.Decoder(Answer)


def dial(path: Path, patience: float) -> socket.socket:
    """A connection, made within so many seconds. Raises OSError: EAGAIN when nobody has accepted it by then."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        # Not settimeout: it has connect() fail at once where others stand in line as well.
        seconds, rest = divmod(patience, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(seconds), int(rest * 1e6)))
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    connection.settimeout(patience)
    return connection


class AbsentError(UnreachableError):
    """There is nothing at this path."""


class Client:
    """One connection to the daemon at `path`. Every method raises UnreachableError with what to do about it."""

    def __init__(self, path: Path, patience: float | None = None) -> None:
        self._path = path
        self._patience = patience = PATIENCE if patience is None else patience
        self._received = bytearray()
        try:
            self._socket = dial(path, patience)
        except OSError as error:
            absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
            raise (AbsentError if absent else UnreachableError)(self._why_not(error)) from None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, request: AnyRequest, wait: float = 0.0) -> Answer:
        """The daemon's answer, which may take `wait` seconds longer than that of a daemon that is well."""
        by = time.monotonic() + self._patience + wait
        try:
            self._socket.settimeout(max(0.001, by - time.monotonic()))
            self._socket.sendall(encode(request))
        except TimeoutError:
            raise UnreachableError(self._silent()) from None
        except OSError:
            pass  # it has hung up, and may have said why
        line = self._line(by)
        try:
            return _ANSWERS.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreachableError(f"what answers at {self._path} is no daemon of this version: {error}") from None

    def lines(self) -> Iterator[bytes]:
        """Everything that the daemon says from now on, line by line, until it goes."""
        while True:
            yield self._line(None)

    def _line(self, by: float | None) -> bytes:
        begin = 0
        while (end := self._received.find(b"\n", begin)) < 0:
            begin = len(self._received)
            if begin > _LONGEST_ANSWER:
                raise UnreachableError(f"what answers at {self._path} is no daemon: it does not end its line")
            self._received += self._receive(by)
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _receive(self, by: float | None) -> bytes:
        try:
            self._socket.settimeout(None if by is None else max(0.001, by - time.monotonic()))
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise UnreachableError(self._silent()) from None
        except OSError:
            data = b""
        if not data:
            raise UnreachableError(f"the daemon at {self._path} has gone, or has hung up")
        return data

    def _silent(self) -> str:
        return f"the daemon at {self._path} does not answer: is it stopped, or does it hang?"

    def _why_not(self, error: OSError) -> str:
        which = "say which with -c FILE or --socket PATH"
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return f"no daemon has a socket at {self._path}: if one runs elsewhere, {which}"
        if error.errno == errno.ECONNREFUSED:
            return f"the daemon at {self._path} does not run any more: it was killed, or this is no socket of a daemon"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{self._path} is not for this user: ask as the user of the daemon, or as root"
        if error.errno == errno.EAGAIN:
            return self._silent()
        return f"{self._path} cannot be connected to: {error.strerror or error}; {which}"
