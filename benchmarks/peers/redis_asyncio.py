"""redis.asyncio's get_message, with hiredis."""

from __future__ import annotations

import asyncio

import redis.asyncio

from benchmarks.peers.peer import begin, say_ready

peer = begin()


async def listen() -> None:
    """Until we are killed."""
    async with redis.asyncio.Redis.from_url(peer.url) as client, client.pubsub() as pubsub:
        await pubsub.psubscribe(peer.pattern)
        while True:
            message = await pubsub.get_message(timeout=1.0)
            if message and message["type"] == "pmessage":
                peer.handled[0] += 1
            elif message:
                say_ready()


asyncio.run(listen())
