"""A plain subscription, as somebody else's program would have it: what is published, message by message."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import redis

from invalidator.envelope import MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.client import PubSub


class Subscription:
    """To these channels; to every channel if none is named. Redis has confirmed it by the time it is made."""

    def __init__(self, client: redis.Redis, *channels: str) -> None:
        self._pubsub: PubSub = client.pubsub()  # type: ignore[no-untyped-call]
        for channel in channels:
            self._pubsub.subscribe(channel)
            assert self._pubsub.get_message(timeout=5)
        if not channels:
            self._pubsub.psubscribe("*")
            assert self._pubsub.get_message(timeout=5)

    def heard(self) -> tuple[str, bytes]:
        """The next message: its channel, and its payload."""
        message = self._pubsub.get_message(timeout=5)
        assert message is not None, "nothing arrived"
        return message["channel"].decode(), message["data"]

    def next(self) -> dict[str, Any]:
        """What the next message says. It is no longer than a worker would read."""
        _, payload = self.heard()
        assert len(payload) <= MAX_PAYLOAD
        said: dict[str, Any] = json.loads(payload)
        return said

    def is_silent(self, seconds: float = 0.02) -> bool:
        """Whether nothing comes for so long."""
        return self._pubsub.get_message(timeout=seconds) is None

    def close(self) -> None:
        self._pubsub.close()


@contextmanager
def subscribed(url: str, *channels: str) -> Iterator[Subscription]:
    """A subscription with a connection of its own, until the end of the block."""
    with redis.Redis.from_url(url) as client, closing(Subscription(client, *channels)) as subscription:
        yield subscription
