"""A bare loop that notes when it had each message in its hands: `… PORT PATTERN COUNT FILE`, which gets the seconds."""

from __future__ import annotations

import sys
import time
from array import array
from pathlib import Path

import hiredis

from benchmarks.peers.peer import CHUNK, connected


def main() -> None:
    """Subscribe, say so, and hear COUNT messages."""
    port, pattern, count, file = sys.argv[1:]
    heard = array("d")
    reader = hiredis.Reader()
    with connected(int(port)) as connection:
        connection.sendall(b"PSUBSCRIBE %b\r\n" % pattern.encode())
        while len(heard) < int(count):
            if not (chunk := connection.recv(CHUNK)):
                sys.exit(f"Redis has hung up after {len(heard)} messages")
            reader.feed(chunk)
            while (reply := reader.gets()) is not False:
                if reply[0] == b"pmessage":
                    heard.append(time.monotonic())
                else:
                    print('"ready"', flush=True)
    Path(file).write_bytes(heard.tobytes())
    print('"done"', flush=True)


if __name__ == "__main__":
    main()
