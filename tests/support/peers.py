"""The control socket on a loop of its own, turned as the supervisor does, and clients that speak to it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from invalidator.control.client import dial
from invalidator.control.protocol import Answer, done
from invalidator.doors.control import Control
from invalidator.doors.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.doors.peers import Asked


class Loop:
    """Turns both doors in a thread. `answer` says what becomes of a request; None: nothing, for now."""

    def __init__(self, path: Path, answer: Callable[[Asked], Answer | None]) -> None:
        self.path = path
        self.peers = Peers()
        self.control = Control(path, self.peers)
        self.longest_turn = 0.0
        """Seconds of processor time: that others want the processor too is not this loop's doing."""
        self.turns = 0
        self._answer = answer
        self._done = threading.Event()
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self.control.close()
        self.peers.close()
        os.close(self._wake)

    def dial(self) -> socket.socket:
        return dial(self.path, 10)

    def ask(self, request: bytes) -> list[Answer]:
        """Everything that is answered to these bytes, until it is quiet: the client says that nothing follows."""
        with self.dial() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return answers(client)

    def _run(self) -> None:
        while not self._done.is_set():
            ready = self._ready()
            begun = time.thread_time()
            now = time.monotonic()
            for door in (self.peers, self.control):
                door.turn(ready, now)
            for asked in list(self.peers.asked):
                self.peers.asked.remove(asked)
                if (answer := self._answer(asked)) is not None:
                    asked.peer.answer(answer, now)
            self.longest_turn = max(self.longest_turn, time.thread_time() - begun)
            self.turns += 1

    def _ready(self) -> set[int]:
        now = time.monotonic()
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for door in (self.peers, self.control):
            for fd, events in door.fds(now):
                poll.register(fd, events)
        due = min(0.05, self.peers.next_due(now), self.control.next_due(now))
        return {fd for fd, _ in poll.poll(max(0, int(due * 1000) + 1))}


@contextmanager
def looping(path: Path, answer: Callable[[Asked], Answer | None] = lambda _: done("here")) -> Iterator[Loop]:
    """A loop, as long as the block lasts."""
    loop = Loop(path, answer)
    try:
        yield loop
    finally:
        loop.close()


def answers(client: socket.socket) -> list[Answer]:
    """What is still to come on a connection."""
    return [msgspec.json.decode(line, type=Answer) for line in lines(client)]


def lines(client: socket.socket) -> list[bytes]:
    """The same, line by line."""
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data.splitlines()


def line(client: socket.socket) -> bytes:
    """The next line, its end left out; what there is of it when the other end hangs up."""
    data = b""
    while not data.endswith(b"\n") and (more := client.recv(1)):
        data += more
    return data.removesuffix(b"\n")
