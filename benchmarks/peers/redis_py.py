"""redis-py's get_message, with hiredis."""

from __future__ import annotations

import redis

from benchmarks.peers.peer import begin, say_ready

peer = begin()
with redis.Redis.from_url(peer.url) as client, client.pubsub() as pubsub:
    pubsub.psubscribe(peer.pattern)
    while True:
        message = pubsub.get_message(timeout=1.0)
        if message and message["type"] == "pmessage":
            peer.handled[0] += 1
        elif message:
            say_ready()
