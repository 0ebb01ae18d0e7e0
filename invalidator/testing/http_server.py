"""A tiny HTTP/1.1 server on loopback, for fakes: a thread a connection; it can be stopped, started and suspended."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from invalidator.testing.http_framing import MalformedRequestError, Request, read_request

if TYPE_CHECKING:
    from collections.abc import Callable

_NEVER = 60.0
"""Seconds after which what hangs is ended all the same: a test that forgot to close its fake must not hang."""


class Line:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self.over = False
        """Set it, and the connection is closed as soon as its thread looks."""

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the server is stopped."""
        self._stopping.wait(seconds)

    def hang(self) -> None:
        """Say nothing until the server is stopped."""
        self._stopping.wait(_NEVER)
        self.over = True

    def close(self) -> None:
        self.over = True

    def reset(self) -> None:
        """End it so that the client sees a reset rather than an orderly end."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.over = True


class HttpServer:
    """Calls `serve(line, request)` for each request, and `refuse(line, error)` for what is none, which ends the line.

    Listens as soon as it is made. Its port stays the same when it is stopped and started again.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Line, Request], None],
        refuse: Callable[[Line, MalformedRequestError | EOFError], None],
    ) -> None:
        self._name, self._serve, self._refuse = name, serve, refuse
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._error: BaseException | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the port of the last time."""
        self._stopping = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept)

    def stop(self) -> None:
        """End every connection, also one that hangs. Raises what went wrong in the server itself, once."""
        self._stopping.set()
        self._flowing.set()
        with self._lock:
            ends, threads = [self._listener, *self._open], list(self._threads)
        for end in ends:
            # A close alone would not wake a thread that is blocked in accept() or recv() on it.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5.0
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def suspend(self) -> None:
        """Accept and read, and serve nothing, with all connections left open: what SIGSTOP does to a real server."""
        self._flowing.clear()

    def resume(self) -> None:
        """Serve what has arrived meanwhile, as a real server does after SIGCONT."""
        self._flowing.set()

    def _run(self, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            except OSError:
                pass  # the client went away, or the server is stopped
            except BaseException as error:  # noqa: BLE001 -- raised again in the test's own thread, by stop()
                self._error = error
            finally:
                with self._lock:
                    threads.discard(thread)

        threads = self._threads
        thread = threading.Thread(target=run, daemon=True, name=self._name)
        with self._lock:
            threads.add(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener as listener:
            while not self._stopping.is_set():
                connection, _ = listener.accept()
                with self._lock:
                    self._open.add(connection)
                self._run(lambda connection=connection: self._converse(connection))  # type: ignore[misc]

    def _converse(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stopping = self._stopping
        line = Line(connection, stopping)
        try:
            with connection, connection.makefile("rb") as stream:
                while not line.over and not stopping.is_set():
                    try:
                        request = read_request(stream)
                    except (MalformedRequestError, EOFError) as error:
                        self._refuse(line, error)
                        return
                    if request is None:
                        return
                    self._flowing.wait(_NEVER)
                    if not stopping.is_set():
                        self._serve(line, request)
        finally:
            with self._lock:
                self._open.discard(connection)
