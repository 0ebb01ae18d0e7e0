"""A proxy that knows Redis' protocol: between a client and a server, it can drop answers, answer itself, and lead new
connections elsewhere, as proxies do that know less than they think."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def frames(buffer: bytearray) -> Iterator[bytes]:
    """The whole replies at the beginning of it, which are taken out."""
    while end := _end(buffer, 0):
        yield bytes(buffer[:end])
        del buffer[:end]


def _end(data: bytearray, at: int) -> int:
    """Where the reply that begins at `at` ends; 0 if it is not whole yet."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return 0
    kind, number = data[at : at + 1], bytes(data[at + 1 : line])
    end = line + 2
    if kind == b"$" and number != b"-1":
        end += int(number) + 2
        return end if end <= len(data) else 0
    if kind == b"*":
        for _ in range(max(0, int(number))):
            end = _end(data, end)
            if not end:
                return 0
    return end


class RespProxy:
    """On 127.0.0.1, as `address`. What it is told holds for every connection from then on, the open ones included.

    `alter` is given each whole reply and gives what the client gets instead; `backend` is where new connections go.
    """

    def __init__(self, backend: tuple[str, int]) -> None:
        self.backend = backend
        self.alter: Callable[[bytes], bytes] = lambda reply: reply
        self.port = free_port()
        self.connections = 0
        proxy = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy.connections += 1
                proxy._carry(self.request)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), Connection)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.backend, 5)
        except OSError:
            return
        self._open |= {client, server}
        back = threading.Thread(target=self._back, args=(server, client), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        self._end_both(client, server)
        back.join()
        server.close()
        self._open -= {client, server}

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        buffer = bytearray()
        with suppress(OSError):
            while data := server.recv(65536):
                buffer += data
                for frame in frames(buffer):  # each at once: what alters them may take its time
                    if altered := self.alter(frame):
                        client.sendall(altered)
        self._end_both(client, server)

    def _end_both(self, *ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
