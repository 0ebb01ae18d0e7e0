"""Tells publishers what a worker tells them, on a connection like the worker's: that it is there, and of a message.

Nobody takes it for one: the key is nobody's and goes at once, and on the channel nobody listens.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import redis

from invalidator import presence, reply
from invalidator.doctor.facts import Told
from invalidator.doctor.servers import user_of
from invalidator.doctor.session import sideline
from invalidator.doctor.wording import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Command

_MILLISECONDS = 1000


def tell(settings: RedisSettings) -> Told:
    """What came of it; nothing where there is no connection, which is said elsewhere."""
    user = user_of(settings)
    name = secrets.token_hex(16)
    attending = _attending(f"{presence.INDEX}:doctor:{name}")
    answering: list[Command] = [("PUBLISH", f"{reply.PREFIX}{name}", "")]
    try:
        with sideline(settings) as asked:
            replies = asked.exchange([*attending, *answering])
    except (redis.RedisError, OSError, ValueError):
        return Told(user, "", "")
    count = len(attending)
    return Told(user, _refused(attending, replies[:count]), _refused(answering, replies[count:]))


def _attending(key: str) -> list[Command]:
    """The commands of a worker's presence, those that take back what is said last."""
    index = presence.INDEX
    return [
        ("SET", key, "", "PX", _MILLISECONDS),
        ("ZADD", index, 0, key),
        ("EXPIRE", index, presence.REMEMBERED),
        ("TIME",),
        ("ZREMRANGEBYSCORE", index, "-inf", "(0"),
        ("DEL", key),
        ("ZREM", index, key),
    ]


def _refused(commands: Sequence[Command], replies: Sequence[object]) -> str:
    """The first that was, and the server's words."""
    for command, said in zip(commands, replies, strict=True):
        if isinstance(said, Exception):
            said_of = f"PUBLISH {reply.PREFIX}*" if command[0] == "PUBLISH" else str(command[0])
            return f"{said_of}: {shown(str(said), 200)}"
    return ""
