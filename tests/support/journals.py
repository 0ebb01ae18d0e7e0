"""A publisher that writes to the journal, as any language can: by the script that the project ships."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis

from invalidator.journal import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.stores import RedisServer

STREAM = "invalidator:journal"
CHANNEL = "cache:invalidate:users:profile"


class Publisher:
    """`publish` does both, atomically; `add` only the Stream, as if the message were never heard."""

    def __init__(self, server: RedisServer) -> None:
        self.client = redis.Redis.from_url(server.url)

    def publish(self, *keys: str, channel: str = CHANNEL) -> str:
        """Both. Returns the entry's id."""
        entry: Any = self._publish(self.client, channel, keys)
        return entry[0].decode()  # type: ignore[no-any-return]

    def publish_all(self, keys: Sequence[str], size: int) -> None:
        """Both, of so many keys a message, all at once."""
        with self.client.pipeline(transaction=False) as batch:
            for begin in range(0, len(keys), size):
                self._publish(batch, CHANNEL, keys[begin : begin + size])
            batch.execute()

    def add(self, *keys: str, channel: str = CHANNEL, at: str = "*") -> str:
        """An entry of the Stream. Returns its id."""
        entry: Any = self.client.xadd(STREAM, {"channel": channel, "payload": payload(*keys)}, id=at)
        return entry.decode()  # type: ignore[no-any-return]

    def add_each(self, *keys: str) -> str:
        """An entry of the Stream for each. Returns the last one's id."""
        return [self.add(key) for key in keys][-1]

    def publish_text(self, text: str, *, heard: bool = True, channel: str = CHANNEL) -> None:
        """Both, of any payload; or the Stream alone."""
        if heard:
            self.client.eval(script.source(), 1, STREAM, channel, text)
        else:
            self.client.xadd(STREAM, {"channel": channel, "payload": text})

    def say(self, *keys: str, journal: str | None = None, channel: str = CHANNEL) -> None:
        """Pub/Sub alone, whatever it says of a journal."""
        message = json.loads(payload(*keys)) | ({"journal": journal} if journal is not None else {})
        self.client.publish(channel, json.dumps(message))

    def _publish(self, client: redis.Redis, channel: str, keys: Sequence[str]) -> Any:
        return client.eval(script.source(), 1, STREAM, channel, payload(*keys), "1000000")

    def do(self, *command: str) -> Any:
        """Any command."""
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.client.close()


def payload(*keys: str) -> str:
    return json.dumps({"v": 1, "keys": keys})
