"""The URL of the Redis that carries the messages, checked when the topology is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic_core import core_schema

from invalidator.plugins import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_SEVERAL = {"redis+sentinel": 26379, "redis+cluster": 6379}
"""The schemes that name several hosts, and the port of those that name none."""

_PASSWORD = re.compile(r"(?P<before>://[^:/@?#]*:).*(?=@)")
_QUERY_PASSWORD = re.compile(r"(?P<before>[?&](?:ssl_)?password=)[^&#]*")

_OPTIONS = {"db": (r"[0-9]+", "a number")}
_TLS_OPTIONS = {
    "ssl_ca_certs": (r".+", "a path"),
    "ssl_ca_path": (r".+", "a path"),
    "ssl_certfile": (r".+", "a path"),
    "ssl_keyfile": (r".+", "a path"),
    "ssl_password": (r".+", "a text"),
    "ssl_cert_reqs": (r"none|optional|required", "none, optional or required"),
    "ssl_check_hostname": (r"true|false", "true or false"),
}
"""What every redis-py that we work with takes as a text for an encrypted connection."""
_OURS = {
    "username": "write it before the host, as in redis://user@host",
    "password": "write it before the host, as in redis://:password@host, or use password_file",
    "socket_timeout": "heartbeat says it",
    "socket_connect_timeout": "heartbeat says it",
    "health_check_interval": "heartbeat says it",
    "retry_on_timeout": "backoff says it",
    "retry_on_error": "backoff says it",
}
"""What redis-py would let a URL decide, and where it is said instead."""


def masked(text: str) -> str:
    """`text` with `***` in the place of a URL's password. All up to the last @ goes: a raw @ or / may be in it."""
    return _QUERY_PASSWORD.sub(r"\g<before>***", _PASSWORD.sub(r"\g<before>***", text))


class RedisUrl:
    """`redis://`, `rediss://`, `unix://`, `redis+sentinel://h1:26379,h2:26379/MASTER/0` or `redis+cluster://h1,h2`.

    Shown with its password as `***`; `reveal()` gives it whole. `database` is the database's number, and `hosts` the
    servers, Sentinels or nodes (host, port), none for a unix socket, whose `path` it is.
    """

    __slots__ = ("_text", "database", "hosts", "master", "password", "path", "scheme", "username")

    def __init__(self, text: str) -> None:
        """Raises ValueError for anything that is not such a URL; its text never has a part of the URL in it."""
        self._text = text
        self.scheme = text.partition("://")[0].lower()
        if "://" not in text or self.scheme not in SCHEMES:
            raise ValueError(f"is not a Redis URL: it starts with {', '.join(f'{name}://' for name in SCHEMES)}")
        if re.search(r"[\x00-\x20\x7f]", text):
            raise ValueError("is not a Redis URL: it has a blank or a control character in it")
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError("is not a Redis URL: its host cannot be read") from None
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        self.username, self.password = unquote(username), unquote(password)
        self.hosts: tuple[tuple[str, int], ...] = ()
        self.master = self.path = ""
        if "@" in parts.path + parts.query + parts.fragment:
            raise ValueError("is not a Redis URL: in a user or password, write / as %2F, ? as %3F and # as %23")
        if parts.fragment:
            raise ValueError("is not a Redis URL: write # as %23")
        options = _options(parts.query, self.scheme)
        if self.scheme == "unix":
            self.path, self.database = _socket_path(hosts, parts.path), _database(options.get("db", "0"))
            return
        steps = parts.path.strip("/").split("/")
        port = _SEVERAL.get(self.scheme)
        self.hosts = tuple(_host(host, port or 6379) for host in (hosts.split(",") if port else [hosts]))
        if self.scheme == "redis+sentinel":
            self.master = _master(steps.pop(0))
        if any(steps) and "db" in options:
            raise ValueError("gives the database twice, in its path and as db: leave one out")
        self.database = _database("/".join(steps) or options.get("db", "0"))
        if self.scheme == "redis+cluster" and self.database:
            raise ValueError("names a database, and a Cluster has only the first: leave it out")

    def reveal(self) -> str:
        """The URL as it was written, password included."""
        return self._text

    get_secret_value = reveal
    """The name that pydantic's secrets give to it."""

    def __str__(self) -> str:
        return masked(self._text)

    def __repr__(self) -> str:
        return f"RedisUrl({masked(self._text)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisUrl) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _validated(cls, value: object) -> RedisUrl:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be a text, like redis://127.0.0.1:6379/0")  # noqa: TRY004  pydantic wants this one
        return cls(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        del schema, handler
        return {"type": "string", "pattern": r"^(rediss?|unix|redis\+sentinel|redis\+cluster)://|\$\{"}


def _options(query: str, scheme: str) -> dict[str, str]:
    """What is behind the ?. redis-py would take anything there, and prefer it to what we set."""
    known = {**_OPTIONS, **_TLS_OPTIONS} if scheme == "rediss" else {} if scheme in _SEVERAL else _OPTIONS
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(_unknown(name, known, scheme))
        if name in options:
            raise ValueError(f"has '{name}' twice behind the ?")
        valid, description = known[name]
        if not re.fullmatch(valid, value):
            raise ValueError(f"has '{name}' behind the ?, which must be {description}")
        options[name] = value
    return options


def _unknown(name: str, known: Iterable[str], scheme: str) -> str:
    # Only the name is quoted: a value may be secret.
    shown = repr(name[:40])
    if name == "sharded" and scheme == "redis+cluster":
        return (
            "has 'sharded' behind the ?: Redis has no pattern SSUBSCRIBE, and a worker's pattern is of classic Pub/Sub,"
            " which every node of a Cluster passes on. Leave it out, and have publishers use PUBLISH, not SPUBLISH"
        )
    if name in _OURS:
        return f"has {shown} behind the ?: {_OURS[name]}"
    if name in _TLS_OPTIONS:
        return f"has {shown} behind the ?, which only rediss:// has"
    if name in _OPTIONS:
        return f"has {shown} behind the ?: write it as the last part of the path"
    allowed = f"may have {', '.join(known)} there" if known else "may have nothing there"
    return f"has {shown} behind the ?, and {scheme}:// {allowed}{suggestion(name, known)}"


def _socket_path(host: str, path: str) -> str:
    if len(path) < 2 or host:
        raise ValueError("a unix socket needs an absolute path, like unix:///run/redis.sock")
    return unquote(path)


def _master(text: str) -> str:
    if not text:
        raise ValueError("does not name the master: redis+sentinel://h1:26379,h2:26379/MASTER/0")
    return unquote(text)


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/,]+)(?::(\d{1,5}))?", text)
    if match is None or int(match[2] or default_port) not in range(1, 65536):
        several = "; only redis+sentinel:// and redis+cluster:// have several" if "," in text else ""
        raise ValueError(f"is not a Redis URL: write each host as host:port{several}")
    return match[1].strip("[]"), int(match[2] or default_port)


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("is not a Redis URL: the database is a number, as in redis://127.0.0.1:6379/0")
    return int(text[:9])
