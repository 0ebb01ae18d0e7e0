"""How each connection to Redis is made: our patience, no retries of redis-py's own, and the password as it is now."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import redis.connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from invalidator.secret_file import read_password

if TYPE_CHECKING:
    from invalidator.topology.models import RedisSettings

PASSWORD = "password"  # noqa: S105  the option's name


UNINTRODUCED: dict[str, None] = (
    {"driver_info": None} if hasattr(redis.connection, "DriverInfo") else {"lib_name": None, "lib_version": None}
)
"""Options of a connection that is opened again and again: telling the server about its library would take most of the
time. Newer versions of redis-py have another word for it, and warn of the old one."""

OF_FEW_WORDS = {"socket_read_size": 4096}
"""Options of a connection on which redis-py reads little at a time: it keeps a buffer as long as its longest read."""


def connection_options(settings: RedisSettings) -> dict[str, Any]:
    """What redis-py's Connection takes, without the server's address. Reads the password's file: it may have changed.

    Raises OSError when that file cannot be read.
    """
    options = patience(settings.heartbeat.deadline) | {"protocol": 2}
    # RESP3 costs 15 % of the throughput and gives a subscription nothing.
    if settings.password_file:
        options[PASSWORD] = read_password(settings.password_file)
    return options


def patience(seconds: float) -> dict[str, Any]:
    """Each step of a conversation may take so long, and nothing is tried twice."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "health_check_interval": 0,
    }


def over_tcp(seconds: float) -> dict[str, Any]:
    """The second line behind our own heartbeat: the kernel gives up on unacknowledged data by itself."""
    limit = {socket.TCP_USER_TIMEOUT: int(seconds * 1000)} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
    return {"socket_keepalive": True, "socket_keepalive_options": limit}


def credentials(settings: RedisSettings) -> dict[str, Any]:
    """The URL's own, for a connection that is not made from the URL. A password's file is the newer word."""
    url = settings.url
    given: dict[str, Any] = {"username": url.username} if url.username else {}
    if url.password and not settings.password_file:
        given[PASSWORD] = url.password
    return given
