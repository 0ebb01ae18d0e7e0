"""FastStream: a handler for a pattern. `python -m benchmarks install` brings it."""

from __future__ import annotations

import asyncio

from faststream import FastStream
from faststream.redis import PubSub, RedisBroker

from benchmarks.peers.peer import begin, say_ready

peer = begin()
broker = RedisBroker(peer.url, logger=None)  # by default it writes two lines for each message
app = FastStream(broker)


@broker.subscriber(channel=PubSub(peer.pattern, pattern=True))  # type: ignore[untyped-decorator]
async def handle(message: bytes) -> None:
    """One message."""
    del message
    peer.handled[0] += 1


@app.after_startup  # type: ignore[untyped-decorator]
async def tell() -> None:
    """It is started, and its subscription was sent."""
    say_ready()


asyncio.run(app.run())
