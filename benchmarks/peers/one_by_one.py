"""The way that most begin with: redis-py's loop, and an UNLINK for each message."""

from __future__ import annotations

import redis

from benchmarks.peers.peer import begin, say_ready

peer = begin()
with redis.Redis(port=peer.cache) as cache, redis.Redis.from_url(peer.url) as client, client.pubsub() as pubsub:
    pubsub.psubscribe(peer.pattern)
    while True:
        message = pubsub.get_message(timeout=1.0)
        if message and message["type"] == "psubscribe":
            say_ready()
        elif message:
            cache.unlink(message["data"])
            peer.handled[0] += 1
