"""Which server is at the other end of a connection, and which of its clients we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

Command = tuple[bytes | str | int | float, ...]


ECHO = "invalidator:echo:"
"""The channels on which a worker publishes to itself start so; behind it, what nobody can guess."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server says of itself and of this connection; what it may not say to us is empty, or 0.

    `run_id` is made anew by each start of a server. `role` is master, slave or sentinel; `replication` is what a slave
    says of the link to its master, which is `connected` when all is well.
    """

    run_id: str = ""
    role: str = ""
    client_id: int = 0
    replication: str = ""


def identify(connection: redis.Connection, name: str = "") -> Identity:
    """Ask an open connection. Raises redis.RedisError or OSError when it is broken, not when an answer is refused.

    With a `name`, the connection is called so from now on, in the same round trip.
    """
    introduction: list[Command] = [("CLIENT", "SETNAME", name)] if name else []
    *_, info, role, client = exchange(connection, [*introduction, ("INFO", "server"), ("ROLE",), ("CLIENT", "ID")])
    word, state = role_of(role)
    return Identity(_run_id(info), word, client if isinstance(client, int) else 0, state)


def exchange(connection: redis.Connection, commands: Sequence[Command]) -> tuple[object, ...]:
    """Send these at once, and give their replies; an error that is the server's answer stands in its place.

    Raises redis.RedisError or OSError when the connection is broken.
    """
    packed = connection.pack_commands(commands)
    connection.send_packed_command(packed)
    return tuple(_reply(connection) for _ in commands)


def _reply(connection: redis.Connection) -> object:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _run_id(info: object) -> str:
    if not isinstance(info, bytes):
        return ""
    fields = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    return fields.get("run_id", "")


def role_of(reply: object) -> tuple[str, str]:
    """What ROLE says: the role, and of a slave the state of the link to its master."""
    words = [word.decode("utf-8", "replace") for word in reply if isinstance(word, bytes)] if is_list(reply) else []
    role = words[0] if words else ""
    return role, words[2] if role == "slave" and len(words) > 2 else ""


def is_list(reply: object) -> TypeGuard[list[object]]:
    """Whether a reply is an array."""
    return isinstance(reply, list)
