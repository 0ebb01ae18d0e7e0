"""A subscriber as articles show it: a pool, decoded replies, a PING before each message, one channel, a retry."""

from __future__ import annotations

import threading

import redis

from benchmarks.peers.peer import begin, say_ready

peer = begin()
pool = redis.ConnectionPool.from_url(
    peer.url, max_connections=10, socket_timeout=2.0, health_check_interval=30, decode_responses=True
)
client = redis.Redis(connection_pool=pool)
pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]


def subscribe() -> None:
    """Again and again, each time after twice as long. It hears a channel: a pattern's messages it would pass over."""
    for attempt in range(5):
        try:
            pubsub.subscribe(peer.channel)
        except redis.ConnectionError:
            threading.Event().wait(2.0**attempt)
        else:
            return
    raise RuntimeError("no subscription")


subscribe()
pubsub.get_message(timeout=1.0)  # the confirmation
say_ready()
while True:
    try:
        client.ping()
        message = pubsub.get_message(timeout=1.0)
        if message and message["type"] == "message":
            peer.handled[0] += 1
    except (redis.ConnectionError, redis.TimeoutError):
        pubsub.reset()
        subscribe()
