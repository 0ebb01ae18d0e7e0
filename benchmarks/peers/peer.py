"""What the peers in Python have in common."""

from __future__ import annotations

import mmap
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import hiredis

CHUNK = 65536


class Peer(NamedTuple):
    """What it was started with. `handled` holds one number, which the harness reads as it changes."""

    port: int
    channel: str
    pattern: str
    handled: memoryview
    cache: int

    @property
    def url(self) -> str:
        """Of Redis."""
        return f"redis://127.0.0.1:{self.port}/0"


def begin() -> Peer:
    """From the command line."""
    port, channel, pattern, counter, cache = sys.argv[1:]
    return Peer(int(port), channel, pattern, opened(Path(counter)), int(cache))


def opened(file: Path) -> memoryview:
    """The number in this file, shared by all who open it."""
    with file.open("r+b") as shared:
        return memoryview(mmap.mmap(shared.fileno(), 8)).cast("Q")


def say_ready() -> None:
    """From now on every message is heard."""
    print("ready", flush=True)


def subscribed(peer: Peer) -> socket.socket:
    """A plain socket on which the pattern's messages arrive: it is confirmed, and nothing else has been read."""
    connection = connected(peer.port)
    connection.sendall(b"PSUBSCRIBE %b\r\n" % peer.pattern.encode())
    reader, reply = hiredis.Reader(), False
    while reply is False:
        reader.feed(connection.recv(CHUNK))
        reply = reader.gets()
    say_ready()
    return connection


def connected(port: int) -> socket.socket:
    """To a server on this machine."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
