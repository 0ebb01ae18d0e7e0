"""Whether two URLs name the same database, as far as that can be known without asking anybody. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.topology.redis_url import RedisUrl

Place = tuple[str, int, int]
"""Host (or path of the socket), port (0 for a socket) and number of the database."""


def place(url: RedisUrl) -> Place | None:
    """Where this URL leads, the same for all ways to write it; None where only a Sentinel knows."""
    if url.path:
        return url.path, 0, url.database
    if url.master or len(url.hosts) != 1:
        return None
    ((host, port),) = url.hosts
    return _host(host), port, url.database


def shown(url: RedisUrl) -> str:
    """Where it leads, for a person: no user, no password, no options."""
    if url.path:
        return f"unix:{url.path} database {url.database}"
    return f"{','.join(f'{host}:{port}' for host, port in url.hosts)} database {url.database}"


def _host(name: str) -> str:
    name = name.lower().rstrip(".")
    if name == "localhost":
        return "loopback"
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return "loopback" if address.is_loopback else str(address)
