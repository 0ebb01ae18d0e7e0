"""Purging what has no list of its keys: by walking the keyspace, or a tag's set, page by page.

A walk that the deadline ends begins anew at the next attempt. It must not go on from where it was: a retried target may
have been asked for again meanwhile, about keys that were stored behind the walk's back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hiredis

from invalidator.errors import BackendError
from invalidator_redis.commands import KEYS_PER_COMMAND, unlink
from invalidator_redis.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator_redis.commands import Command
    from invalidator_redis.connection import Connection, Reply


def walk_keyspace(connection: Connection, pattern: str, count: int, deadline: float) -> None:
    """Unlink every key that fits `pattern` and was there when the walk began. Raises BackendError.

    SCAN never blocks the server for longer than one page takes, unlike KEYS. Each page is unlinked together with the
    request for the next one: one round trip for both.
    """
    cursor, names = b"0", list[bytes]()
    while True:
        scan: Command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
        cursor, names = _page(ask(connection, [*_unlinks(names), scan], deadline)[-1])
        if cursor == b"0":
            ask(connection, list(_unlinks(names)), deadline)
            return


def walk_tag(connection: Connection, tag_key: str, deadline: float) -> None:
    """Unlink every key whose name was in this set when the walk began, and take it out of the set. Raises BackendError.

    Both in one transaction: a name taken out of the set without its key being unlinked would be a key that no purge of
    the tag finds any more. What joins the set meanwhile stays in it.
    """
    cursor = b"0"
    while True:
        scanned = ask(connection, [("SSCAN", tag_key, cursor, "COUNT", KEYS_PER_COMMAND)], deadline)
        cursor, names = _page(scanned[0])
        if names:
            ask(connection, [("MULTI",), *_unlinks(names), ("SREM", tag_key, *names), ("EXEC",)], deadline)
        if cursor == b"0":
            return


def ask(connection: Connection, commands: list[Command], deadline: float) -> list[Reply]:
    """The replies, none of them an error: the first that is one is raised as BackendError."""
    replies = connection.ask(commands, deadline) if commands else []
    for reply in replies:
        for part in reply if isinstance(reply, list) else (reply,):
            if isinstance(part, hiredis.ReplyError):
                raise refusal(str(part))
    return replies


def _unlinks(names: list[bytes]) -> Iterator[Command]:
    for start in range(0, len(names), KEYS_PER_COMMAND):
        yield unlink(names[start : start + KEYS_PER_COMMAND])


def _page(reply: Reply) -> tuple[bytes, list[bytes]]:
    match reply:
        case [bytes() as cursor, list() as names] if all(isinstance(name, bytes) for name in names):
            return cursor, names
    raise BackendError("protocol", "not an answer to SCAN")
