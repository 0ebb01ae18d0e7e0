"""The connections of a publisher: redis-py's, with the deadlines of a caller who is held up by them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from invalidator.errors import PublishError
from invalidator.publisher.cluster import open_cluster

if TYPE_CHECKING:
    from redis import Redis

    from invalidator.publisher.cluster import Cluster


def shown_url(url: str) -> str:
    """A URL that may be shown: without user, password and query, any of which could be a secret."""
    scheme, separator, rest = url.partition("://")
    credentials, at, where = rest.rpartition("@")
    if not separator or re.search(r"[/?#]", credentials):  # that @ may be a password's own: show none of it
        return f"{scheme}://***" if separator else "***"
    return f"{scheme}://{'***@' if at else ''}{where.partition('?')[0]}"


def user_of(url: str) -> str:
    """The user that a URL names, for the grant that an error asks for."""
    return unquote(url.partition("://")[2].rpartition("@")[0].partition(":")[0]) or "default"


class Server:
    """One server, or the master that Sentinels name."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def at(self, key: str) -> Redis:
        """Whom to ask for what has this key; any that can be asked, where there is none."""
        del key
        return self._client

    def node(self, host: str, port: int) -> Redis:
        """The one that another one has named. There are none: this URL names one server of a Cluster as if it were all.

        Raises redis.RedisError.
        """
        from redis.exceptions import ClusterError  # noqa: PLC0415 -- see above

        raise ClusterError(f"this is one node of a Cluster, and sends to {host}:{port}: redis+cluster:// follows")

    def look_again(self, *, soon: bool = True) -> None:
        """Somebody was asked who is the right one no more. Not `soon`: before the next call, with the time of that."""
        del soon

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()


def open_client(url: str, password: str | None, timeout: float) -> Server | Cluster:
    """Connects when it is first used. Raises PublishError for what is no URL."""
    try:
        if url.startswith("redis+cluster://"):
            return open_cluster(url, password, _options(timeout))
        client = _from_url(url, timeout)
    except ValueError:
        # Not chained: its text may quote a part of the password.
        raise PublishError(
            f"cannot publish to {shown_url(url)}: a URL is redis://HOST:PORT/0, rediss://, unix:///PATH,"
            " redis+sentinel://HOST:26379,HOST:26379/MASTER/0 or redis+cluster://HOST:6379,HOST:6379, with user and"
            " password percent-encoded"
        ) from None
    if password is not None:  # of a file, say: newer than what the URL says, which redis-py would let win
        client.connection_pool.connection_kwargs["password"] = password
    return Server(client)


def _from_url(url: str, timeout: float) -> Redis:
    from redis import Redis  # noqa: PLC0415 -- an application that never publishes never pays for it

    if "@" in url.partition("://")[2].partition("/")[2] and not url.startswith("unix://"):
        raise ValueError("what stands before this @ is a part of a password, and would be taken for a host")
    options = _options(timeout)
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url, **options)
    return _through_sentinel(url, timeout, options)


def _options(timeout: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff  # noqa: PLC0415 -- see above
    from redis.retry import Retry  # noqa: PLC0415

    return {
        "socket_connect_timeout": timeout / 2,
        "socket_timeout": timeout / 2,
        "retry": Retry(NoBackoff(), 0),  # its own retries know no deadline
    }


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
