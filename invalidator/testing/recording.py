"""A server that writes down every byte it is sent and answers by a script: for wire safety, hangs and garbage."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Script = Callable[["Conversation"], None]

_NEVER = 60.0
"""Seconds after which a script that waits is ended all the same: a test that forgot to stop it must not hang."""


class Conversation:
    """One connection, as its script sees it. What arrives is recorded before the script can look at it."""

    def __init__(self, server: RecordingServer, connection: socket.socket, number: int) -> None:
        self.number = number
        """Counts the connections from 0: a script can treat the first one differently."""
        self._server = server
        self._connection = connection
        self._seen = 0

    def read_until(self, marker: bytes) -> bytes:
        """What arrived since the last read, up to and with `marker`. Raises EOFError when the client closes before."""
        while True:
            pending = self._server.recorded(self.number)[self._seen :]
            end = pending.find(marker)
            if end >= 0:
                self._seen += end + len(marker)
                return pending[: end + len(marker)]
            self._receive()

    def read_all(self) -> None:
        """Read, and record, until the client closes."""
        with suppress(EOFError):
            while True:
                self._receive()

    def send(self, answer: bytes) -> None:
        self._connection.sendall(answer)

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the server is closed: a slow answer."""
        self._server.closing.wait(seconds)

    def hang(self) -> None:
        """Neither read nor answer until the server is closed."""
        self._server.closing.wait(_NEVER)

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset rather than an orderly end."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def _receive(self) -> None:
        data = self._connection.recv(65536)
        if not data:
            raise EOFError
        self._server.record(self.number, data)


def hanging(talk: Conversation) -> None:
    """A script that reads and records everything, and never answers."""
    talk.read_all()


def answering(marker: bytes, answer: bytes) -> Script:
    """A script that sends `answer` each time that `marker` has arrived."""

    def script(talk: Conversation) -> None:
        while True:
            talk.read_until(marker)
            talk.send(answer)

    return script


def saying(answer: bytes, *, after: bytes) -> Script:
    """A script that waits for `after`, sends `answer` once and closes: half an answer, say, or garbage."""

    def script(talk: Conversation) -> None:
        talk.read_until(after)
        talk.send(answer)

    return script


class RecordingServer:
    """Listens on loopback, or on a unix socket at `path`; runs `script` for each connection, in a thread of its own.

    A script that returns ends its connection. EOFError and OSError in a script end it quietly: the client went away.
    Any other exception is raised again when the server is closed.
    """

    def __init__(self, script: Script = hanging, path: Path | None = None) -> None:
        self.closing = threading.Event()
        self._script = script
        self._changed = threading.Condition()
        self._received: list[bytearray] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._listener = socket.create_server(("127.0.0.1", 0)) if path is None else _listen_on(path)
        self.port = 0 if path is not None else int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}" if path is None else f"unix:{path}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def received(self) -> tuple[bytes, ...]:
        """What each connection has sent so far, in the order in which they were made."""
        with self._changed:
            return tuple(map(bytes, self._received))

    def wait_for(self, condition: Callable[[tuple[bytes, ...]], bool], timeout: float = 5.0) -> tuple[bytes, ...]:
        """What was received as soon as `condition` is true of it. Raises TimeoutError, with what there was instead."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(tuple(map(bytes, self._received))), timeout):
                raise TimeoutError(f"not within {timeout} s; received: {self._received!r}")
            return tuple(map(bytes, self._received))

    def wait_for_closed(self, count: int, timeout: float = 5.0) -> None:
        """Return once `count` conversations have ended and their connections are closed. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) - len(self._open) >= count, timeout):
                raise TimeoutError(f"not within {timeout} s; still open: {len(self._open)}")

    def recorded(self, number: int) -> bytes:
        with self._changed:
            return bytes(self._received[number])

    def record(self, number: int, data: bytes) -> None:
        with self._changed:
            self._received[number] += data
            self._changed.notify_all()

    def close(self) -> None:
        self.closing.set()
        self._shut(self._listener)
        with self._changed:
            connections = list(self._open)
        for connection in connections:
            self._shut(connection)
        deadline = time.monotonic() + 5.0
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True, name="recording-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while not self.closing.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    return
                with self._changed:
                    self._open.add(connection)
                    self._received.append(bytearray())
                    talk = Conversation(self, connection, len(self._received) - 1)
                    self._changed.notify_all()
                self._run(lambda talk=talk, connection=connection: self._converse(talk, connection))  # type: ignore[misc]

    def _converse(self, talk: Conversation, connection: socket.socket) -> None:
        with connection:
            try:
                self._script(talk)
            except (EOFError, OSError):
                pass
            except BaseException as error:  # noqa: BLE001 -- raised again in the test's own thread, by close()
                self._error = error
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    @staticmethod
    def _shut(connection: socket.socket) -> None:
        # A close alone would not wake a thread that is blocked in accept() or recv() on it.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _listen_on(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener
