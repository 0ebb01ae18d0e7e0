"""Sees when memcached has deleted a key: a door before it that passes bytes on, and notes when its answer came.

    python -m benchmarks.relay PORT OF-MEMCACHED FILE

Says its own port, and writes FILE at the end of its standard input: for each key its number and the monotonic second at
which memcached's answer was here, as pairs of doubles. Deletes are quiet (`q`) and end with `mn`, whose answer `MN`
means that all before it were done. Everybody who is measured has this same door before the cache.
"""

from __future__ import annotations

import re
import select
import socket
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.peer import CHUNK, connected

if TYPE_CHECKING:
    from collections.abc import Sequence

_DELETE = re.compile(rb"md k:(\d+)")
_FENCE = re.compile(rb"(?:^|(?<=\n))mn\r\n")


class Passage:
    """One connection through the door. All that it has seen is kept, and read when nobody is measured any more."""

    def __init__(self, front: socket.socket, port: int) -> None:
        self.front = front
        self.back = connected(port)
        self._asked: list[bytes] = []
        self._answered: list[tuple[float, bytes]] = []

    def ask(self) -> bool:
        """Pass on a question; False at the end."""
        if data := self.front.recv(CHUNK):
            self._asked.append(data)
            self.back.sendall(data)
        return bool(data)

    def answer(self) -> bool:
        """Pass on an answer; False at the end."""
        if data := self.back.recv(CHUNK):
            self._answered.append((time.monotonic(), data))
            self.front.sendall(data)
        return bool(data)

    def deletions(self) -> array[float]:
        """What went through."""
        return deletions(b"".join(self._asked), self._answered)


def deletions(asked: bytes, answered: Sequence[tuple[float, bytes]]) -> array[float]:
    """Pairs: the number in the key, and when the answer was here that comes after it is gone. Pure."""
    fences = [second for second, data in answered for _ in range(data.count(b"MN\r\n"))]
    pairs = array("d")
    for second, questions in zip(fences, _FENCE.split(asked), strict=False):
        for found in _DELETE.findall(questions):
            pairs.extend((float(found), second))
    return pairs


def main() -> None:
    """Until standard input ends."""
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    door = socket.create_server(("127.0.0.1", 0))
    print(door.getsockname()[1], flush=True)
    passages: list[Passage] = []
    ends: dict[int, tuple[Passage, bool]] = {}
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    poll.register(door, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            if number == sys.stdin.fileno():
                file.write_bytes(b"".join(passage.deletions().tobytes() for passage in passages))
                return
            if number == door.fileno():
                front, _ = door.accept()
                front.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                passage = Passage(front, port)
                passages.append(passage)
                for is_front, end in ((True, front), (False, passage.back)):
                    ends[end.fileno()] = (passage, is_front)
                    poll.register(end, select.POLLIN)
                continue
            passage, is_front = ends[number]
            if not (passage.ask() if is_front else passage.answer()):
                poll.unregister(number)


if __name__ == "__main__":
    main()
