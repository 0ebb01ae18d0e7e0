"""How a publisher hands its messages to Redis, in each of the two modes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from invalidator.journal import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Mode = Literal["pubsub", "journal"]
MODES: tuple[Mode, ...] = ("pubsub", "journal")
STREAM = "invalidator:journal"
KEEP = 1_000_000
PATIENCE = 2.0


class Outbox:
    """Publishes on one channel. A new connection for each error: what the old one still does, nobody has confirmed."""

    def __init__(self, client: Redis, channel: str, mode: str) -> None:
        self._client = client
        self._channel = channel
        self._mode = mode
        self._loaded = False

    def send(self, payloads: Sequence[bytes]) -> list[int]:
        """How many subscriptions got each. Raises redis.RedisError or OSError when any is not known to be published."""
        return self._journaled(payloads) if self._mode == "journal" else self._published(payloads)

    def _published(self, payloads: Sequence[bytes]) -> list[int]:
        pipeline = self._client.pipeline(transaction=False)
        for payload in payloads:
            pipeline.publish(self._channel, payload)
        return [int(receivers) for receivers in pipeline.execute()]

    def _journaled(self, payloads: Sequence[bytes]) -> list[int]:
        if not self._loaded:  # at first, and after each error: another server, or the same anew, does not know it
            self._client.script_load(script.source())
        self._loaded = False
        pipeline = self._client.pipeline(transaction=False)
        for payload in payloads:
            pipeline.evalsha(script.digest(), 1, STREAM, self._channel, payload, KEEP)
        answers = pipeline.execute()
        self._loaded = True
        return [int(receivers) for _, receivers in answers]


@contextmanager
def opened(url: str, channel: str, mode: str) -> Iterator[Outbox]:
    """An outbox, until the end of the block. It connects when it is first used."""
    options: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    client = _through_sentinel(url, options) if url.startswith("redis+sentinel:") else Redis.from_url(url, **options)
    try:
        yield Outbox(client, channel, mode)
    finally:
        client.close()


def _through_sentinel(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    nodes = [(host or "127.0.0.1", int(port)) for host, _, port in (n.rpartition(":") for n in parts.netloc.split(","))]
    sentinel = Sentinel(nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(parts.path.strip("/").partition("/")[0], **options)  # type: ignore[no-untyped-call]
    return client
