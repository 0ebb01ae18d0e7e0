"""The bare loop beside us: `python -m gates.hearer PORT PATTERN`. What it does not manage, this machine does not.

It hears the very messages that the daemon hears, in the same seconds, and notes when it had each in its hands: a
socket, hiredis, and nothing else. Each says when it was to go out. A message on END has it print its figures as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time

import hiredis

from benchmarks.peers.peer import CHUNK, connected
from invalidator.bench.figures import summary

END = "gates:end"
QUIET = 60.0
"""Seconds after which nobody is there any more, neither Redis nor who started us."""
_SENT = re.compile(rb'"ts":(\d+\.\d+)')


def main() -> None:
    """Subscribe, say so, hear, and say how late each was. The payloads are read afterwards: it is a bare loop."""
    port, pattern = sys.argv[1:]
    heard: list[tuple[float, bytes]] = []
    reader = hiredis.Reader()
    with connected(int(port)) as connection:
        connection.settimeout(QUIET)
        connection.sendall(b"PSUBSCRIBE %b %b\r\n" % (pattern.encode(), END.encode()))
        ended = False
        while not ended and (chunk := connection.recv(CHUNK)):
            reader.feed(chunk)
            while (reply := reader.gets()) is not False:
                if reply[0] == b"psubscribe":
                    if reply[2] == 2:
                        print('"ready"', flush=True)
                elif reply[2] == END.encode():
                    ended = True
                else:
                    heard.append((time.time(), reply[3]))
    print(json.dumps(_figures(heard)), flush=True)


def _figures(heard: list[tuple[float, bytes]]) -> dict[str, float | None]:
    late = [at - float(sent[1]) for at, payload in heard if (sent := _SENT.search(payload))]
    return {**summary(late), "heard": len(late)}


if __name__ == "__main__":
    main()
