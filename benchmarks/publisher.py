"""Publishes `k:0`, `k:1`, … in order: `python -m benchmarks.publisher PORT CHANNEL COUNT RATE AT_ONCE TIMES`.

RATE is messages a second, in groups of AT_ONCE; 0: as fast as Redis takes them. An open loop: a group leaves when its
time has come, whatever has become of those before. TIMES is a file for when each group left, in monotonic seconds as
doubles; empty: none is written.
"""

from __future__ import annotations

import json
import select
import sys
import time
from array import array
from pathlib import Path

from benchmarks.peers.peer import CHUNK, connected


def key(number: int) -> str:
    """All are of one length."""
    return f"k:{number:09d}"


class Publisher:
    """A connection. `unanswered` are messages that Redis has not said anything of yet."""

    def __init__(self, port: int) -> None:
        self._connection = connected(port)
        self.unanswered = 0

    def send(self, group: bytes, messages: int) -> None:
        """One write, if Redis takes it."""
        self._connection.sendall(group)
        self.unanswered += messages

    def hear(self, seconds: float) -> None:
        """Take the answers that have come, and wait so long for some. Raises EOFError."""
        if select.select([self._connection], [], [], max(0.0, seconds))[0]:
            answers = self._connection.recv(CHUNK)
            if not answers:
                raise EOFError("Redis has closed the connection")
            self.unanswered -= answers.count(b"\n")


def main() -> None:
    """Make everything first, wait for a line, publish, and say how long it took."""
    port, channel, count, rate, at_once, times = sys.argv[1:]
    each = int(at_once)
    groups = [_group(channel, first, min(first + each, int(count))) for first in range(0, int(count), each)]
    publisher = Publisher(int(port))
    print('"ready"', flush=True)
    sys.stdin.readline()
    left = array("d")
    began = time.monotonic()
    for number, (group, messages) in enumerate(groups):
        if float(rate):
            _await(publisher, began + number * each / float(rate))
        while publisher.unanswered > 4 * each and not float(rate):
            publisher.hear(1.0)
        left.append(time.monotonic())
        publisher.send(group, messages)
    while publisher.unanswered > 0:
        publisher.hear(1.0)
    if times:
        Path(times).write_bytes(left.tobytes())
    print(json.dumps({"began": began, "ended": time.monotonic()}), flush=True)


def _await(publisher: Publisher, due: float) -> None:
    while (left := due - time.monotonic()) > 0:
        publisher.hear(left)


def _group(channel: str, first: int, last: int) -> tuple[bytes, int]:
    head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(channel), channel.encode())
    names = [key(number).encode() for number in range(first, last)]
    return b"".join(head + b"$%d\r\n%b\r\n" % (len(name), name) for name in names), len(names)


if __name__ == "__main__":
    main()
