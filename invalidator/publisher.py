"""The application's side: publish what became stale, from the path on which it was written."""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from invalidator.envelope import Head, check_channel, envelopes
from invalidator.errors import PublishError, UnreachableError
from invalidator.messages import EVERYTHING, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis import Redis

    from invalidator.messages import Kind

DEFAULT_TIMEOUT = 2.0
"""Seconds that a write may be held up by a Redis that does not answer."""

_PIPELINE = 100  # messages sent before their answers are read: 800 KiB at most


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent. `receivers` is how many subscriptions got every one of the messages.

    No receiver is no error by itself: in a Cluster, Redis counts only those of the node that was asked.
    """

    id: str
    targets: int
    messages: int
    receivers: int


class Publisher:
    """Publishes invalidations to one Redis. Safe between threads, and after a fork; connects when first used.

    `url` is redis://, rediss://, unix:// or redis+sentinel://; a `password` given here replaces the URL's. `timeout`
    (seconds) bounds what a call costs when Redis does not answer; only a resolver that hangs can hold it up for longer.
    `source` says who publishes; by default host and pid.
    """

    def __init__(
        self,
        url: str,
        *,
        journal: bool = False,
        password: str | None = None,
        source: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        if journal:
            raise PublishError("journal: not yet: this version publishes by Pub/Sub alone")
        self._url = url
        self._password = password
        self._source = source
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: Redis | None = None

    def invalidate(  # noqa: PLR0913 -- one argument for each member of the message
        self,
        channel: str,
        keys: Iterable[str] = (),
        *,
        tags: Iterable[str] = (),
        prefixes: Iterable[str] = (),
        patterns: Iterable[str] = (),
        urls: Iterable[str] = (),
        all: bool = False,  # noqa: A002 -- the message's own word
        soft: bool = False,
        id: str | None = None,  # noqa: A002 -- the message's own word
        source: str | None = None,
        traceparent: str | None = None,
        wait: float | None = None,
    ) -> Published:
        """Publish that these targets are stale, in as few messages as hold them.

        Raises PublishError, with nothing sent, for what no worker would take, and UnreachableError when Redis did not
        confirm all of it within the timeout; to call again is then safe, as forgetting twice is forgetting.
        """
        if wait is not None:
            raise PublishError("wait: not yet: this version does not hear what became of a message")
        check_channel(channel)
        targets = [
            *_targets("key", keys),
            *_targets("tag", tags),
            *_targets("prefix", prefixes),
            *_targets("pattern", patterns),
            *_targets("url", urls),
            *((EVERYTHING,) if all else ()),
        ]
        head = Head(
            id=secrets.token_urlsafe(9) if id is None else id,
            ts=time.time(),
            source=source or self._source or _whoami(os.getpid()),
            soft=soft,
            traceparent=traceparent or "",
        )
        payloads = envelopes(targets, head)
        receivers = min(self._publish(channel, payloads))
        return Published(head.id, len(set(targets)), len(payloads), receivers)

    def close(self) -> None:
        """Give back the connections. A later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self, channel: str, payloads: Sequence[bytes]) -> Iterator[int]:
        for start in range(0, len(payloads), _PIPELINE):
            yield from self._send(channel, payloads[start : start + _PIPELINE])

    def _send(self, channel: str, payloads: Sequence[bytes]) -> list[int]:
        from redis import exceptions  # noqa: PLC0415 -- an application that never publishes never pays for it

        began = time.monotonic()
        client = self._connected()
        try:
            try:
                return _send_once(client, channel, payloads)
            except exceptions.TimeoutError:
                raise  # the time that a caller gives us is spent
            except exceptions.ConnectionError:
                # Mostly a connection that idled while Redis restarted. Once more, if it cost nothing to find out.
                if time.monotonic() - began > self._timeout / 4:
                    raise
                return _send_once(client, channel, payloads)
        except (exceptions.RedisError, OSError) as error:
            why = str(error).partition(" : <")[0][:200] or type(error).__name__  # behind it, the repr of whole objects
            raise UnreachableError(f"could not publish to {shown_url(self._url)}: {why}") from error

    def _connected(self) -> Redis:
        with self._lock:
            if self._client is None:
                self._client = _client(self._url, self._password, self._timeout)
            return self._client


def shown_url(url: str) -> str:
    """A URL that may be shown: without user, password and query, any of which could be a secret."""
    scheme, separator, rest = url.partition("://")
    credentials, at, where = rest.rpartition("@")
    if not separator or re.search(r"[/?#]", credentials):  # that @ may be a password's own: show none of it
        return f"{scheme}://***" if separator else "***"
    return f"{scheme}://{'***@' if at else ''}{where.partition('?')[0]}"


def _client(url: str, password: str | None, timeout: float) -> Redis:
    try:
        client = _from_url(url, timeout)
    except ValueError:
        # Not chained: its text may quote a part of the password.
        raise PublishError(
            f"cannot publish to {shown_url(url)}: a URL is redis://HOST:PORT/0, rediss://, unix:///PATH"
            " or redis+sentinel://HOST:26379,HOST:26379/MASTER/0, with user and password percent-encoded"
        ) from None
    if password is not None:  # of a file, say: newer than what the URL says, which redis-py would let win
        client.connection_pool.connection_kwargs["password"] = password
    return client


def _from_url(url: str, timeout: float) -> Redis:
    from redis import Redis  # noqa: PLC0415 -- see above
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    if "@" in url.partition("://")[2].partition("/")[2] and not url.startswith("unix://"):
        raise ValueError("what stands before this @ is a part of a password, and would be taken for a host")
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout / 2,
        "socket_timeout": timeout / 2,
        "retry": Retry(NoBackoff(), 0),  # its own retries know no deadline
    }
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url, **options)
    return _through_sentinel(url, timeout, options)


def _through_sentinel(url: str, timeout: float, options: dict[str, Any]) -> Redis:
    from redis.sentinel import Sentinel  # noqa: PLC0415 -- see above

    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not hosts:
        raise ValueError("names no master, or no Sentinel")
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    addresses = [(node.hostname or "127.0.0.1", node.port or 26379) for node in nodes]
    # Each Sentinel may be the one that hangs: a part of the time for each of them, the rest for the master.
    patience = {**options, "socket_connect_timeout": timeout / 8, "socket_timeout": timeout / 8}
    sentinel = Sentinel(addresses, sentinel_kwargs=patience)  # type: ignore[no-untyped-call]
    options |= {"username": unquote(username) or None, "password": unquote(password) or None, "db": int(database or 0)}
    client: Redis = sentinel.master_for(unquote(master), **options)  # type: ignore[no-untyped-call]
    return client


def _send_once(client: Redis, channel: str, payloads: Sequence[bytes]) -> list[int]:
    pipeline = client.pipeline(transaction=False)
    for payload in payloads:
        pipeline.publish(channel, payload)
    return [int(receivers) for receivers in pipeline.execute()]


def _targets(kind: Kind, values: Iterable[str]) -> Iterator[Target]:
    if isinstance(values, str):  # or each of its letters would be one
        raise PublishError(f"{kind}: give a list of texts, not one text")
    return (Target(kind, value) for value in values)


@cache
def _whoami(pid: int) -> str:
    return f"{socket.gethostname()}-{pid}"
