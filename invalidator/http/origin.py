"""Where requests go. An origin comes from the configuration alone; nothing in a message can change it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["http", "https"]

DEFAULT_PORTS: dict[str, int] = {"http": 80, "https": 443}

# Underscores are no part of a host name by the book, but container networks use them.
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """One server: `host` (IPv6 without brackets) and `port`, or the path of a unix `socket`."""

    scheme: Scheme
    host: str
    port: int
    socket: str = ""

    @property
    def authority(self) -> str:
        """What this server's own `Host` header is: the port is left out where the scheme implies it."""
        return format_authority(self.host, self.port, self.scheme)

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"{self.scheme}://{self.authority}"


def parse_origin(text: str) -> Origin:
    """`http://host[:port]`, `https://host[:port]` or `unix:/path` as an Origin. Raises ValueError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError("a unix socket needs an absolute path, like unix:/run/varnish.sock")
        return Origin("http", "localhost", 80, path)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in DEFAULT_PORTS:
        raise ValueError("is not an origin: write http://host:port, https://host or unix:/path")
    if "@" in rest:
        raise ValueError("an origin carries no credentials: put them into `headers`")
    host, port = parse_authority(rest.removesuffix("/"), DEFAULT_PORTS[scheme])
    return Origin("https" if scheme == "https" else "http", host, port)


def parse_authority(text: str, default_port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port` as a lower-case host (without brackets) and a port. Raises ValueError."""
    match = _AUTHORITY.fullmatch(text.lower())
    if match is None:
        raise ValueError("is not a host: write host, host:port or [v6]:port, and nothing else")
    host, port = match[1], int(match[2] or default_port)
    if not 0 < port < 65536:
        raise ValueError(f"port {port} does not exist")
    if host.startswith("["):
        return str(ipaddress.IPv6Address(host[1:-1])), port
    if not _NAME.fullmatch(host):
        raise ValueError("is not a host name: letters, digits, `-`, `_` and `.` (write other alphabets as punycode)")
    return host, port


def format_authority(host: str, port: int, scheme: str) -> str:
    """The inverse of `parse_authority`, without the port that the scheme implies."""
    name = f"[{host}]" if ":" in host else host
    return name if port == DEFAULT_PORTS[scheme] else f"{name}:{port}"
