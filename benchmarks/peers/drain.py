"""The same as drain.c, where there is no compiler: recv_into() and nothing else. Counts bytes."""

from __future__ import annotations

from benchmarks.peers.peer import CHUNK, begin, subscribed

peer = begin()
connection = subscribed(peer)
chunk = bytearray(CHUNK)
while got := connection.recv_into(chunk):
    peer.handled[0] += got
