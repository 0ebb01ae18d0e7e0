"""Which server is at the other end of a connection, and which of its clients we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

Command = tuple[bytes | str | int | float, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server says of itself and of this connection; what it may not say to us is empty, or 0.

    `run_id` is made anew by each start of a server. `role` is master, slave or sentinel.
    """

    run_id: str = ""
    role: str = ""
    client_id: int = 0


def identify(connection: redis.Connection) -> Identity:
    """Ask an open connection. Raises redis.RedisError or OSError when it is broken, not when an answer is refused."""
    info, role, client = exchange(connection, [("INFO", "server"), ("ROLE",), ("CLIENT", "ID")])
    return Identity(_run_id(info), _role(role), client if isinstance(client, int) else 0)


def exchange(connection: redis.Connection, commands: Sequence[Command]) -> tuple[object, ...]:
    """Send these at once, and give their replies; an error that is the server's answer stands in its place.

    Raises redis.RedisError or OSError when the connection is broken.
    """
    packed = connection.pack_commands(commands)  # type: ignore[no-untyped-call]
    connection.send_packed_command(packed)  # type: ignore[no-untyped-call]
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


def _role(role: object) -> str:
    return role[0].decode("utf-8", "replace") if isinstance(role, list) and role and isinstance(role[0], bytes) else ""
