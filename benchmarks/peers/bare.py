"""A bare loop: a socket, hiredis, and every message in Python's hands. With CACHE it deletes what has arrived there.

One thread, nothing bounded, nothing retried, no loss noticed: what it costs to do the job and to promise nothing.
"""

from __future__ import annotations

import hiredis

from benchmarks.peers.peer import CHUNK, begin, connected, subscribed

peer = begin()
connection = subscribed(peer)
cache = connected(peer.cache) if peer.cache else None
reader = hiredis.Reader()
gets = reader.gets
handled = 0
while chunk := connection.recv(CHUNK):
    reader.feed(chunk)
    payloads = []
    while (reply := gets()) is not False:
        if reply[0] == b"pmessage":
            payloads.append(reply[3])
    if cache and payloads:
        cache.sendall(b"md " + b" q\r\nmd ".join(payloads) + b" q\r\nmn\r\n")
        answer = b""
        while not answer.endswith(b"MN\r\n"):
            answer += cache.recv(CHUNK)
    handled += len(payloads)
    peer.handled[0] = handled
